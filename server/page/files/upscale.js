// Enlarging an image of the server by an upscaler, as a job of its own.
import { h, icon } from './dom.js';
import { notify } from './notify.js';
import { create } from './jobs.js';
import { labelled, number, select } from './units.js';

const key = 'goxl.upscale';

let names = [];

// start takes the server's options.
export function start(options) {
  names = options.upscalers.filter((name) => !/^(latent.*|lanczos|nearest)$/.test(name)); // which need no model
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? {};
  } catch {
    return {};
  }
}

function keep(choice) {
  try {
    localStorage.setItem(key, JSON.stringify(choice));
  } catch { // storage is full or turned off: it is chosen again
  }
}

// parts are a button and what it shows, none where the server has no models for it. after is called once the job is made.
export function parts(image, after) {
  if (names.length === 0) return [];
  const before = kept();
  const upscaler = select('upscaler', 'Upscaler', names, names.includes(before.upscaler) ? before.upscaler : names[0]);
  upscaler.removeAttribute('aria-label');
  const scale = h('input', { inputmode: 'decimal', placeholder: 'Its own', value: before.scale ?? '' });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const go = h('button', { type: 'button', class: 'go', onclick: () => make() }, 'Upscale');
  const panel = h('div', { class: 'panel', role: 'group', 'aria-label': 'Upscale', hidden: true },
    h('div', { class: 'row' }, labelled('Upscaler', upscaler), labelled('Scale', scale), go), problem);
  const button = h('button', {
    type: 'button', class: 'action', 'aria-expanded': 'false', onclick: () => {
      panel.hidden = !panel.hidden;
      button.setAttribute('aria-expanded', String(!panel.hidden));
      if (!panel.hidden) upscaler.focus();
    },
  }, icon('upscale'), 'Upscale');
  scale.addEventListener('keydown', (event) => event.key === 'Enter' && make());

  async function make() {
    const choice = { upscaler: upscaler.value, scale: number(scale.value) };
    keep(choice);
    go.disabled = true;
    problem.hidden = true;
    try {
      await create({ task: 'upscale', image: image.id, ...choice }, () => notify('The server does not answer. The job is sent as soon as it does.'));
      after();
    } catch (err) {
      problem.textContent = err.message;
      problem.hidden = false;
    } finally {
      go.disabled = false;
    }
  }
  return [button, panel];
}
