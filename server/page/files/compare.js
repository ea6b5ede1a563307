// Before and after: an image over the one that it was made of, with a divider between them that is dragged, or moved by
// keys.
import { h } from './dom.js';
import { imageURL } from './api.js';

const step = 2; // percent of an arrow
const far = 10; // of Page Up and Page Down

// beforeOf is the image that a job began with, or null.
export const beforeOf = (job) => job.inputs?.find((input) => input.role === 'image') ?? null;

// area is where the image that a job began with lies in the result, in fractions of its sides.
function area({ parameters: p = {} }, before) {
  const [left, top, right, bottom] = p.outpaint ?? [0, 0, 0, 0];
  const width = before.width + left + right;
  const height = before.height + top + bottom;
  return { left: left / width, top: top / height, width: before.width / width, height: before.height / height };
}

// fits are CSS's words for the ways in which an image gets another size.
const fits = { crop: 'cover', fill: 'contain' };

// compare makes such a view of a job's image.
export function compare(job, image, alt) {
  const before = beforeOf(job);
  const { left, top, width, height } = area(job, before);
  const below = h('img', { src: imageURL(image.id), alt, draggable: 'false' });
  const above = h('img', { src: imageURL(before.id), alt: 'The image before', draggable: 'false' });
  Object.assign(above.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * width}%`, height: `${100 * height}%` });
  above.style.objectFit = fits[job.parameters?.resize] ?? 'fill';
  const cut = h('div', { class: 'before' }, above);
  const divider = h('div', { class: 'divider', role: 'slider', tabindex: 0, 'aria-label': 'Before and after', 'aria-valuemin': 0, 'aria-valuemax': 100 }, h('span', { 'aria-hidden': 'true' }));
  const element = h('div', { class: 'compare' }, below, cut, h('span', { class: 'tag', 'aria-hidden': 'true' }, 'Before'), h('span', { class: 'tag right', 'aria-hidden': 'true' }, 'After'), divider);
  element.style.setProperty('--width', image.width);
  element.style.setProperty('--height', image.height);

  let at = 0;
  const set = (percent) => {
    at = Math.min(Math.max(percent, 0), 100);
    element.style.setProperty('--at', `${at}%`);
    divider.setAttribute('aria-valuenow', Math.round(at));
    divider.setAttribute('aria-valuetext', `${Math.round(at)} percent before, ${100 - Math.round(at)} percent after`);
  };
  set(50);

  let pointer = null;
  const follow = (event) => {
    const box = element.getBoundingClientRect();
    set((100 * (event.clientX - box.left)) / box.width);
  };
  element.addEventListener('pointerdown', (event) => {
    if (pointer !== null || !event.isPrimary || event.button !== 0) return;
    pointer = event.pointerId;
    element.setPointerCapture(pointer);
    divider.focus({ focusVisible: false });
    follow(event);
    event.preventDefault();
  });
  element.addEventListener('pointermove', (event) => event.pointerId === pointer && follow(event));
  for (const name of ['pointerup', 'pointercancel']) {
    element.addEventListener(name, (event) => {
      if (event.pointerId === pointer) pointer = null;
    });
  }
  divider.addEventListener('keydown', (event) => {
    const to = {
      ArrowLeft: at - step, ArrowDown: at - step, ArrowRight: at + step, ArrowUp: at + step, PageDown: at - far, PageUp: at + far, Home: 0, End: 100,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation(); // the arrows go through the history elsewhere
    set(to);
  });
  return element;
}
