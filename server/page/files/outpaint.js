// The border that outpainting adds to an image: its four edges are dragged by pointer, or moved by keys, or typed.
import { $ } from './dom.js';
import { size } from './format.js';

export const sides = ['left', 'top', 'right', 'bottom'];

const step = 8; // pixels between two borders
const far = 64; // pixels of the keys for a large step

let border = [0, 0, 0, 0]; // pixels on each of the sides
let image = { width: 1, height: 1 };
let limits = null; // of the whole: {side, pixels}
let dragged = null; // {pointer, index, from, began, scale}
let changed = () => {};

const handle = (index) => $(`outpaint-handle-${sides[index]}`);
const input = (index) => $(`outpaint-${sides[index]}`);

// start listens to the handles and the inputs. given are the server's limits; scale gives how many pixels of the screen one of the image has; onChange
// gets whether the border is still dragged.
export function start(given, scale, onChange) {
  limits = given;
  changed = onChange;
  sides.forEach((_, index) => {
    const element = handle(index);
    element.addEventListener('pointerdown', (event) => {
      if (dragged || !event.isPrimary || event.button !== 0) return;
      element.setPointerCapture(event.pointerId);
      dragged = { pointer: event.pointerId, index, from: border[index], began: along(event, index), scale: scale() };
    });
    element.addEventListener('pointermove', (event) => {
      if (dragged?.pointer === event.pointerId) set(index, dragged.from + (along(event, index) - dragged.began) / dragged.scale);
    });
    for (const name of ['pointerup', 'pointercancel']) {
      element.addEventListener(name, (event) => {
        if (dragged?.pointer !== event.pointerId) return;
        dragged = null;
        changed(false);
      });
    }
    element.addEventListener('keydown', (event) => key(event, index));
    input(index).addEventListener('input', () => set(index, Number(input(index).value) || 0, true));
    input(index).addEventListener('change', show);
    input(index).step = step;
  });
  $('outpaint-none').onclick = () => write([0, 0, 0, 0]);
}

// along is how far a pointer is out to a side.
const along = (event, index) => [-event.clientX, -event.clientY, event.clientX, event.clientY][index];

// open begins with a border of an image of a size.
export function open(width, height, list) {
  image = { width, height };
  border = [...list];
  show();
}

export const read = () => [...border];
export const isDragged = () => dragged !== null;

function write(list) {
  border = [...list];
  show();
  changed(false);
}

// whole is the image with its border.
const whole = () => ({ width: image.width + border[0] + border[2], height: image.height + border[1] + border[3] });

// room is what a side's border may be.
function room(index) {
  const { width, height } = whole();
  const [along, across] = index % 2 === 0 ? [width, height] : [height, width];
  const most = Math.min(limits.side, Math.floor(limits.pixels / across));
  return Math.max(0, Math.floor((most - along + border[index]) / step) * step);
}

function set(index, value, typed = false) {
  const rounded = Math.min(Math.max(0, Math.round(value / step) * step), room(index));
  if (rounded === border[index]) return;
  border[index] = rounded;
  show(typed ? index : -1);
  changed(dragged !== null);
}

// key moves a side's edge: the arrow that points outwards makes the border wider.
function key(event, index) {
  const out = ['ArrowLeft', 'ArrowUp', 'ArrowRight', 'ArrowDown'][index];
  const inward = ['ArrowRight', 'ArrowDown', 'ArrowLeft', 'ArrowUp'][index];
  const by = event.shiftKey ? far : step;
  const to = { [out]: border[index] + by, [inward]: border[index] - by, PageUp: border[index] + far, PageDown: border[index] - far, Home: 0, End: room(index) }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  set(index, to);
}

// show brings handles and inputs up to date, but for the input that is typed into.
function show(typed = -1) {
  sides.forEach((_, index) => {
    const pixels = border[index];
    const element = handle(index);
    element.setAttribute('aria-valuenow', pixels);
    element.setAttribute('aria-valuemax', room(index));
    element.setAttribute('aria-valuetext', `${pixels} pixels`);
    input(index).max = room(index);
    if (index !== typed) input(index).value = pixels;
  });
  $('outpaint-size').textContent = size(whole().width, whole().height);
  $('outpaint-none').disabled = border.every((pixels) => pixels === 0);
}

// text says a border in words, "" of none.
export const text = (list) => sides.filter((_, i) => list[i] > 0).map((side) => `${list[sides.indexOf(side)]} px ${side}`).join(', ');
