// The board of the editor's dialog: the image with its border as large as fits, or larger, moved by two fingers or the
// wheel.
import { $ } from './dom.js';
import * as outpaint from './outpaint.js';

const edge = 20; // pixels of the screen beside the whole
const reach = 0.16; // of the board on each side, into which a border is drawn
const most = 8; // times as large as fits

let width = 1; // of the image
let height = 1;
let margin = 0; // of the board on each side
let scale = 1; // pixels of the screen for one of the image
let zoomed = 1; // times as large as fits
let left = 0; // where the image lies on the board
let top = 0;
let moved = () => {};

// start listens to the board. onMove is called when the image has moved, onPinch when two fingers begin to move it.
export function start(onMove, onPinch) {
  moved = onMove;
  new ResizeObserver(() => $('editor').open && fit()).observe($('board'));
  $('board').addEventListener('wheel', (event) => {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY / 200), event);
    else pan(-event.deltaX, -event.deltaY);
  }, { passive: false });
  const fingers = new Map();
  const down = (event) => {
    if (event.pointerType !== 'touch') return;
    fingers.set(event.pointerId, event);
    if (fingers.size === 2) onPinch();
  };
  const move = (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    fingers.set(event.pointerId, event);
    if (fingers.size !== 2) return;
    const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    pan((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
    zoom(apart(event) / Math.max(apart(before), 1), { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 });
  };
  // Before the canvas has them, as it may not let go of a finger.
  $('board').addEventListener('pointerdown', down, true);
  $('board').addEventListener('pointermove', move, true);
  for (const name of ['pointerup', 'pointercancel']) $('board').addEventListener(name, (event) => fingers.delete(event.pointerId), true);
}

// open shows an image of a size, which a border may be drawn around.
export function open(w, h) {
  width = w;
  height = h;
}

export const scaled = () => scale;
export const canDraw = () => margin > edge;

// fit makes the whole as large as the board lets it, with room for a border where that is drawn.
export function fit(border = canDraw()) {
  const { clientWidth, clientHeight } = $('board');
  margin = border ? Math.max(edge + 1, reach * Math.min(clientWidth, clientHeight)) : edge;
  zoomed = 1;
  scale = fitting();
  settle();
}

const whole = () => {
  const [l, t, r, b] = outpaint.read();
  return { width: width + l + r, height: height + t + b, l, t };
};

function fitting() {
  const { clientWidth, clientHeight } = $('board');
  return Math.max(0.01, Math.min((clientWidth - 2 * margin) / whole().width, (clientHeight - 2 * margin) / whole().height));
}

// zoom makes the image larger by a factor, around a point of the window, or around the middle.
export function zoom(factor, point) {
  if (canDraw()) return; // the border would be out of reach
  const box = $('board').getBoundingClientRect();
  const x = point ? point.clientX - box.left : box.width / 2;
  const y = point ? point.clientY - box.top : box.height / 2;
  const to = Math.min(Math.max(zoomed * factor, 1), most);
  left = x - ((x - left) * to) / zoomed;
  top = y - ((y - top) * to) / zoomed;
  zoomed = to;
  scale = fitting() * zoomed;
  settle();
}

// pan moves the image.
export function pan(x, y) {
  if (zoomed === 1) return;
  left += x;
  top += y;
  settle();
}

// reveal moves the image so that a point of it is seen.
export function reveal({ x, y }) {
  const { clientWidth, clientHeight } = $('board');
  const into = (at, size) => Math.max(edge - at, 0) + Math.min(size - edge - at, 0);
  pan(into(left + x * scale, clientWidth), into(top + y * scale, clientHeight));
}

// settle keeps the whole in the middle of the board where it is smaller, and the board covered where it is larger.
function settle() {
  const { clientWidth, clientHeight } = $('board');
  const { width: w, height: h, l, t } = whole();
  const within = (at, size, room) => (size + 2 * edge <= room ? (room - size) / 2 : Math.min(Math.max(at, room - edge - size), edge));
  left = within(left - l * scale, w * scale, clientWidth) + l * scale;
  top = within(top - t * scale, h * scale, clientHeight) + t * scale;
  place();
}

// place shows what is drawn now, without moving the image, so that what is dragged stays below the pointer.
export function place() {
  const style = $('sheet').style;
  Object.assign(style, { left: `${left}px`, top: `${top}px`, width: `${width * scale}px`, height: `${height * scale}px` });
  outpaint.read().forEach((pixels, i) => style.setProperty(`--${outpaint.sides[i]}`, `${-pixels * scale}px`));
  moved();
}
