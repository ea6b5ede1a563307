// One image at large, with what it was computed with. The arrows go through the history.
import { $, h, icon } from './dom.js';
import { imageURL } from './api.js';
import { moment, promptOf, status } from './format.js';
import { describe } from './params.js';
import { beforeOf, compare } from './compare.js';
import * as actions from './actions.js';
import * as history from './history.js';

let options = null;
let at = null; // {job, index}
let comparing = false; // images with those that they were made of

export function start(given) {
  options = given;
  $('viewer').addEventListener('keydown', (event) => {
    if (event.target.closest('input, textarea, select')) return;
    if (event.key === 'ArrowLeft') step(-1);
    else if (event.key === 'ArrowRight') step(1);
    else return;
    event.preventDefault();
  });
  $('viewer').addEventListener('click', (event) => event.target === $('viewer') && $('viewer').close()); // beside the dialog's contents
  $('viewer').addEventListener('close', () => {
    const image = at?.job.images?.[at.index]?.id;
    at = null;
    $('viewer-content').replaceChildren();
    if ($('viewer').returnValue !== 'form') document.querySelector(`[data-image="${image}"]`)?.focus({ preventScroll: true }); // else the form has it
  });
}

// open shows an image of a job, or with index -1 a job that has none.
export function open(job, index) {
  at = { job, index };
  fill();
  $('viewer').returnValue = '';
  if (!$('viewer').open) $('viewer').showModal();
  $('viewer').querySelector('.close').focus();
}

function position() {
  const list = history.images();
  return { list, i: list.findIndex(({ job, index }) => job.id === at.job.id && index === at.index) };
}

async function step(by) {
  let { list, i } = position();
  if (i < 0) return;
  if (i + by >= list.length) {
    await history.more();
    if (!at) return; // it was closed meanwhile
    ({ list, i } = position());
  }
  const to = list[i + by];
  if (!to) return;
  at = to;
  fill();
  $('viewer').querySelector('.close').focus();
}

// after moves on once the job that is shown was deleted.
function after(i) {
  const list = history.images();
  if (list.length === 0) {
    $('viewer').close();
    return;
  }
  const { job, index } = list[Math.min(Math.max(i, 0), list.length - 1)];
  open(job, index);
}

function fill() {
  const { job, index } = at;
  const image = job.images?.[index] ?? null;
  const { list, i } = position();
  const arrow = (name, label, by) => h('button', { type: 'button', class: `round arrow ${name}`, 'aria-label': label, disabled: i < 0 || !list[i + by], onclick: () => step(by) }, icon(name));
  const prompt = promptOf(job);
  const before = image && beforeOf(job);
  const toggle = before && h('button', {
    type: 'button', class: 'round compare-toggle', 'aria-label': 'Before and after', title: 'Before and after', 'aria-pressed': String(comparing), onclick: () => {
      comparing = !comparing;
      fill();
      $('viewer').querySelector(comparing ? '.divider' : '.compare-toggle').focus();
    },
  }, icon('compare'));
  const shown = !image ? h('p', { class: 'problem' }, status(job))
    : before && comparing ? compare(job, image, prompt)
      : h('img', { src: imageURL(image.id), alt: prompt, width: image.width, height: image.height });
  $('viewer-content').replaceChildren(
    h('div', { class: 'view' }, shown, toggle,
      arrow('left', 'The newer image', -1), arrow('right', 'The older image', 1)),
    h('div', { class: 'about' },
      h('button', { type: 'button', class: 'round close', 'aria-label': 'Close', onclick: () => $('viewer').close() }, icon('close')),
      h('p', { class: 'words' }, prompt),
      h('p', { class: 'muted' }, `${moment(job.created)}. ${status(job)}`),
      (job.warnings ?? []).map((warning) => h('p', { class: 'muted' }, warning)),
      h('div', { class: 'actions' }, actions.buttons(job, image, () => after(i))),
      h('dl', {}, describe(job, image, options).flatMap(([label, text]) => [h('dt', {}, label), h('dd', {}, text)]))));
}
