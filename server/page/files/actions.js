// What can be done with an image, or with a job that has none.
import { imageURL } from './api.js';
import { modelOf } from './choices.js';
import { h, icon } from './dom.js';
import { notify } from './notify.js';
import { copy, curl, requestOf } from './params.js';
import * as controls from './controls.js';
import * as form from './form.js';
import * as history from './history.js';
import * as reference from './reference.js';
import * as upscale from './upscale.js';

let options = null;

export function start(given) {
  options = given;
  upscale.start(given);
}

// show brings the form into view, where a narrow window has it above.
function show() {
  document.querySelector('dialog[open]')?.close('form');
  document.getElementById('form').scrollIntoView({ block: 'start' });
  document.getElementById('prompt').focus({ preventScroll: true });
}

function again(job, image, change = {}) {
  form.write({ ...requestOf(job, image, options), ...change });
  show();
}

// extend shows a part of the form that got an image.
function extend(element) {
  document.querySelector('dialog[open]')?.close('form');
  element.scrollIntoView({ block: 'center' });
  element.querySelector('select').focus({ preventScroll: true });
}

function beginWith(job, image, fields) {
  form.merge({ image: image.id, ...fields });
  show();
}

// buttons are those of an image of a job; image is null of a job that has none. after is called once the job is deleted.
export function buttons(job, image, after = () => {}) {
  const button = (name, label, onclick) => h('button', { type: 'button', class: 'action', onclick }, icon(name), label);
  const list = [];
  if (image) {
    const ending = { 'image/png': 'png', 'image/jpeg': 'jpg', 'image/webp': 'webp' }[image.type] ?? 'png';
    list.push(h('a', { class: 'action', href: imageURL(image.id), download: `${image.id}.${ending}` }, icon('download'), 'Download'));
  }
  if (job.task !== 'upscale') list.push(button('reuse', 'Reuse parameters', () => again(job, image)));
  if (image) {
    list.push(button('input', 'Use as input', () => beginWith(job, image, { refiner: false })));
    const { refiner } = modelOf(options, job.model);
    if (refiner) {
      const { prompt, negative_prompt } = requestOf(job, image, options);
      list.push(button('refine', 'Send to refiner', () => beginWith(job, image, { prompt, negative_prompt, refiner: true, strength: refiner.strength })));
    }
  }
  let panel = null;
  if (image) {
    const [open, shown] = upscale.parts(image, () => {
      document.querySelector('dialog[open]')?.close('form');
      document.getElementById('stage').scrollIntoView({ block: 'start' });
    });
    panel = shown;
    if (open) list.push(open);
    if (controls.available()) list.push(button('control', 'Use as control', () => extend(controls.steer(image.id))));
    if (reference.available()) list.push(button('reference', 'Use as reference', () => extend(reference.refer(image.id))));
  }
  list.push(button('curl', 'Copy as curl', async () => {
    try {
      await copy(curl(requestOf(job, image, options)));
      notify('The command is on the clipboard');
    } catch (err) {
      notify(`Not copied: ${err.message}`, { error: true });
    }
  }));
  list.push(deletion(job, after));
  if (panel) list.push(panel);
  return list;
}

// deletion asks once more before it deletes.
function deletion(job, after) {
  const label = h('span', {}, 'Delete');
  const button = h('button', { type: 'button', class: 'action danger' }, icon('delete'), label);
  const reset = () => {
    button.classList.remove('sure');
    label.textContent = 'Delete';
  };
  button.addEventListener('blur', reset);
  button.addEventListener('click', async () => {
    if (!button.classList.contains('sure')) {
      button.classList.add('sure');
      label.textContent = job.images?.length > 1 ? `Delete all ${job.images.length}?` : 'Really delete?';
      return;
    }
    try {
      await history.remove(job.id);
      after();
    } catch (err) {
      notify(`Not deleted: ${err.message}`, { error: true });
      reset();
    }
  });
  return button;
}
