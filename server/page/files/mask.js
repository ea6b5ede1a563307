// A mask that is painted on a canvas: strokes of a brush and of an eraser, by pointer or by keys, which can be taken back.
// What is opaque on the canvas is white in the mask, which is what is repainted.
import { $ } from './dom.js';
import { toPNG } from './upload.js';

const canvas = $('mask-canvas');
const context = canvas.getContext('2d');

let base = null; // the mask that was there before, an image; null is none
let done = []; // what was done since: {erase, size, points} of a stroke, or {all} of a change of the whole mask
let undone = [];
let stroke = null; // the one that is drawn
let pointer = null; // its pointer's id, or "keys"
let at = { x: 0, y: 0 }; // where the brush is, in pixels of the image
let tool = { erase: false, size: 64 };
let changed = () => {};
let moved = () => {};

// start listens to the canvas. onChange is called when the mask has changed, onMove with the brush's place, or null when
// it has left.
export function start(onChange, onMove) {
  changed = onChange;
  moved = onMove;
  canvas.addEventListener('pointerdown', press);
  canvas.addEventListener('pointermove', drag);
  canvas.addEventListener('pointerup', release);
  canvas.addEventListener('pointercancel', release);
  canvas.addEventListener('pointerleave', (event) => pointer === null && event.pointerType !== 'touch' && moved(null));
  canvas.addEventListener('contextmenu', (event) => event.preventDefault());
  canvas.addEventListener('focus', () => canvas.matches(':focus-visible') && moved(at));
  canvas.addEventListener('blur', () => {
    if (pointer === 'keys') lift();
    if (pointer === null) moved(null);
  });
}

// open begins with the mask of an image, or without one, for an image of a size.
export function open(width, height, image) {
  Object.assign(canvas, { width, height });
  at = { x: width / 2, y: height / 2 };
  base = image;
  done = [];
  undone = [];
  stroke = null;
  pointer = null;
  repaint();
}

export const use = (change) => Object.assign(tool, change);
export const isChanged = () => done.length > 0;
export const canUndo = () => done.length > 0;
export const canRedo = () => undone.length > 0;

export function undo() {
  if (stroke || done.length === 0) return;
  undone.push(done.pop());
  repaint();
  changed();
}

export function redo() {
  if (stroke || undone.length === 0) return;
  done.push(undone.pop());
  apply(done.at(-1));
  changed();
}

// clear takes all paint away, invert paints what is not painted and the other way round.
export const clear = () => add({ all: 'clear' });
export const invert = () => add({ all: 'invert' });

function add(change) {
  if (stroke) return;
  done.push(change);
  undone = [];
  apply(change);
  changed();
}

// abandon takes back the stroke that a pointer draws.
export function abandon() {
  if (!stroke || pointer === 'keys') return;
  stroke = null;
  pointer = null;
  moved(null);
  repaint();
}

function repaint() {
  context.globalCompositeOperation = 'source-over';
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (base) drawBase();
  done.forEach(apply);
}

// drawBase brings in a mask of grey pixels, whose white is opaque here.
function drawBase() {
  const { sheet, pixels } = copied(base);
  const [red, green, blue] = colour();
  for (let i = 0; i < pixels.data.length; i += 4) {
    const [r, g, b, a] = pixels.data.subarray(i, i + 4);
    pixels.data.set([red, green, blue, ((0.299 * r + 0.587 * g + 0.114 * b) * a) / 255], i);
  }
  sheet.getContext('2d').putImageData(pixels, 0, 0);
  context.drawImage(sheet, 0, 0);
}

// copied gives the pixels of an image at the canvas's size, on a sheet of their own: a canvas whose pixels are read often
// leaves the graphics card.
function copied(image) {
  const sheet = document.createElement('canvas');
  Object.assign(sheet, { width: canvas.width, height: canvas.height });
  sheet.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return { sheet, pixels: sheet.getContext('2d').getImageData(0, 0, canvas.width, canvas.height) };
}

const colour = () => getComputedStyle(canvas).color.match(/[\d.]+/g).slice(0, 3).map(Number);

function apply(change) {
  if (change.all === 'clear') {
    context.clearRect(0, 0, canvas.width, canvas.height);
  } else if (change.all === 'invert') {
    context.globalCompositeOperation = 'xor';
    context.fillStyle = getComputedStyle(canvas).color;
    context.fillRect(0, 0, canvas.width, canvas.height);
  } else {
    for (let i = 0; i < change.points.length; i++) segment(change, i);
  }
}

// segment draws a stroke's way to its point i.
function segment({ erase, size, points }, i) {
  const from = points[Math.max(i - 1, 0)];
  const to = points[i];
  context.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
  Object.assign(context, { lineWidth: size, lineCap: 'round', strokeStyle: getComputedStyle(canvas).color });
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.lineTo(to.x, to.y);
  context.stroke();
}

function begin(by, erase) {
  pointer = by;
  stroke = { erase, size: tool.size, points: [] };
}

function to(point) {
  stroke.points.push(point);
  segment(stroke, stroke.points.length - 1);
}

// lift ends the stroke.
function lift() {
  const ended = stroke;
  stroke = null;
  pointer = null;
  done.push(ended);
  undone = [];
  changed();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: ((event.clientX - box.left) * canvas.width) / box.width, y: ((event.clientY - box.top) * canvas.height) / box.height };
}

function press(event) {
  if (pointer !== null || !event.isPrimary) return;
  canvas.setPointerCapture(event.pointerId);
  begin(event.pointerId, tool.erase || event.button === 2 || (event.buttons & 32) !== 0); // of a pen, its eraser
  at = place(event);
  to(at);
  moved(at);
}

function drag(event) {
  if (pointer === null && event.isPrimary) moved(place(event));
  if (pointer !== event.pointerId) return;
  const passed = event.getCoalescedEvents?.() ?? [];
  for (const each of passed.length > 0 ? passed : [event]) to(place(each));
  at = place(event);
  moved(at);
}

function release(event) {
  if (pointer !== event.pointerId) return;
  lift();
  if (event.pointerType === 'touch') moved(null);
}

// key moves the brush by arrows, puts it down and lifts it by the space bar. It reports whether the key was one of those,
// and what to tell of it.
export function key(event) {
  const step = Math.max(1, Math.round(event.shiftKey ? 1 : tool.size / 4));
  const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  if (by && (pointer === null || pointer === 'keys')) {
    const within = (value, most) => Math.min(Math.max(value, 0), most);
    at = { x: within(at.x + by[0], canvas.width), y: within(at.y + by[1], canvas.height) };
    if (stroke) to(at);
    moved(at);
    return { said: '' };
  }
  if (event.key !== ' ' || event.repeat) return event.key === ' ' ? { said: '' } : null;
  if (pointer === 'keys') {
    lift();
    return { said: 'Brush lifted' };
  }
  if (pointer !== null) return { said: '' };
  begin('keys', tool.erase);
  to(at);
  moved(at);
  return { said: 'Brush down' };
}

// read gives the mask as a PNG file, and the fraction that is painted, 0 to 1.
export async function read() {
  if (pointer === 'keys') lift();
  const { sheet, pixels } = copied(canvas);
  let sum = 0;
  for (let i = 0; i < pixels.data.length; i += 4) {
    const value = pixels.data[i + 3];
    sum += value;
    pixels.data[i] = value;
    pixels.data[i + 1] = value;
    pixels.data[i + 2] = value;
    pixels.data[i + 3] = 255;
  }
  if (sum === 0) return { blob: null, painted: 0 };
  sheet.getContext('2d').putImageData(pixels, 0, 0);
  return { blob: await toPNG(sheet), painted: sum / (255 * canvas.width * canvas.height) };
}
