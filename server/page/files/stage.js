// What is computed now, and then what came of it: one job at large, the others as lines.
import { $, h } from './dom.js';
import { imageURL } from './api.js';
import { place, promptOf, status } from './format.js';
import { announce, notify } from './notify.js';
import { cancel, interrupt, jobs, openJobs } from './jobs.js';
import * as actions from './actions.js';

let last = null; // the job that ended last, while the page is open
let shown = null; // {id, ended, parts} of the card
let opened = () => {};
const lines = new Map(); // elements of the other jobs by id

// start shows the jobs. open is called with a job and the index of its image that was chosen.
export function start(open) {
  opened = open;
  jobs.addEventListener('change', render);
  jobs.addEventListener('ended', ({ detail: job }) => {
    if (job.state !== 'cancelled') last = job;
    announce(status(job));
    render();
  });
  render();
}

// forget takes a job that was deleted off the stage.
export function forget(id) {
  if (last?.id !== id) return;
  last = null;
  render();
}

// end asks for the end of a job, by a button, and says by a word what has not happened where that fails.
async function end(button, how, id, word) {
  button.disabled = true;
  try {
    await how(id);
  } catch (err) {
    button.disabled = false;
    notify(`Not ${word}: ${err.message}`, { error: true });
  }
}

// render brings the stage up to date. Elements stay as long as their job, so that nothing flickers and focus is kept.
function render() {
  const open = openJobs();
  const job = open[0] ?? last;
  $('stage').hidden = !job;
  document.title = open[0]?.steps ? `${Math.round((100 * open[0].step) / open[0].steps)} % goxl` : 'goxl';
  if (!job) {
    shown = null;
    lines.clear();
    $('stage').replaceChildren();
    return;
  }
  const isOpen = open.length > 0;
  if (shown?.id !== job.id || shown.ended === isOpen) {
    const parts = isOpen ? working(job) : result(job);
    shown = { id: job.id, ended: !isOpen, parts };
    $('stage').replaceChildren(parts.card, h('ul', { id: 'queue', 'aria-label': 'Jobs that wait' }));
    lines.clear();
  }
  if (isOpen) update(shown.parts, job);
  renderLines(open.slice(1));
}

function frame(job) {
  const element = h('div', { class: 'frame' });
  const { width, height } = job.parameters ?? {};
  element.style.setProperty('--width', width || 1);
  element.style.setProperty('--height', height || 1);
  return element;
}

// working is the card of a job that has not ended.
function working(job) {
  const images = Array.from({ length: job.parameters?.images || 1 }, () => {
    const element = frame(job);
    element.append(h('img', { alt: 'Preview', hidden: true }));
    return element;
  });
  const bar = h('progress', { max: 1, 'aria-label': 'Progress' });
  const words = h('p', { class: 'status' });
  const stop = h('button', {
    type: 'button', class: 'interrupt', title: 'Stop after this step, and keep the image so far', onclick: () => end(stop, interrupt, job.id, 'stopped'),
  }, 'Stop and keep');
  const button = h('button', { type: 'button', class: 'cancel', onclick: () => end(button, cancel, job.id, 'cancelled') }, 'Cancel');
  const card = h('article', { class: 'card working', 'data-job': job.id }, h('div', { class: images.length > 1 ? 'several' : 'one' }, images),
    h('div', { class: 'caption' }, bar, h('div', { class: 'line' }, words, h('div', { class: 'ends' }, stop, button)), h('p', { class: 'prompt-line muted' }, promptOf(job))));
  return { card, bar, words, images, stop };
}

function update({ bar, words, images, stop }, job) {
  stop.hidden = job.state !== 'running' || job.task === 'upscale' || !(job.step > 0);
  if (job.stopping) stop.disabled = true;
  images.forEach((image, i) => {
    const preview = image.firstChild;
    const source = job.previews[i];
    if (source && preview.src !== source) preview.src = source;
    preview.hidden = !source;
    image.classList.toggle('still', job.state !== 'running');
  });
  if (job.steps) bar.value = job.step / job.steps;
  else if (job.loading) bar.value = job.loading / 100;
  else bar.removeAttribute('value');
  if (job.state !== 'running') bar.value = 0;
  words.textContent = status(job);
  const quarter = job.steps ? Math.floor((4 * job.step) / job.steps) : 0;
  announce(job.state !== 'running' ? status(job) : quarter > 0 ? `${25 * quarter} percent` : 'Computing');
}

// result is the card of a job that has ended.
function result(job) {
  const images = (job.images ?? []).map((image, index) => {
    const element = frame({ parameters: image });
    element.append(h('button', { type: 'button', 'aria-label': 'Show the image at full size', onclick: () => opened(job, index) },
      h('img', { src: imageURL(image.id), alt: promptOf(job), 'data-image': image.id })));
    return element;
  });
  const dismiss = h('button', {
    type: 'button', class: 'quiet', onclick: () => {
      last = null;
      render();
    },
  }, 'Close');
  const card = h('article', { class: `card ended ${job.state}`, 'data-job': job.id },
    images.length > 0 && h('div', { class: images.length > 1 ? 'several' : 'one' }, images),
    h('div', { class: 'caption' },
      h('div', { class: 'line' }, h('p', { class: job.state === 'failed' ? 'status problem' : 'status' }, status(job)), dismiss),
      (job.warnings ?? []).map((warning) => h('p', { class: 'muted' }, warning)),
      h('p', { class: 'prompt-line muted' }, promptOf(job)),
      h('div', { class: 'actions' }, actions.buttons(job, job.images?.[0] ?? null, () => forget(job.id)))));
  return { card };
}

function renderLines(list) {
  const queue = $('queue');
  for (const [id, line] of lines) {
    if (list.some((job) => job.id === id)) continue;
    line.element.remove();
    lines.delete(id);
  }
  list.forEach((job, at) => {
    let line = lines.get(job.id);
    if (!line) {
      const words = h('span', { class: 'muted' });
      const button = h('button', { type: 'button', class: 'quiet', 'aria-label': `Cancel: ${promptOf(job)}`, onclick: () => end(button, cancel, job.id, 'cancelled') }, 'Cancel');
      line = { words, element: h('li', { 'data-job': job.id }, h('span', { class: 'prompt-line' }, promptOf(job)), words, button) };
      lines.set(job.id, line);
    }
    line.words.textContent = place(job);
    if (queue.children[at] !== line.element) queue.insertBefore(line.element, queue.children[at] ?? null);
  });
}
