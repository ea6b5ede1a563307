// The dialog in which a mask is painted on the input image, and a border is drawn around it.
import { $, icon } from './dom.js';
import { imageURL, uploadImage } from './api.js';
import { announce, notify } from './notify.js';
import * as board from './board.js';
import * as mask from './mask.js';
import * as outpaint from './outpaint.js';

const closer = 1.5; // what a button zooms by

let given = null; // what is edited: {id, mask, outpaint}
let use = () => {}; // takes what came of it
let mode = 'mask';
let brush = null; // where it is, in pixels of the image; null is elsewhere

// start takes the server's options.
export function start({ limits }) {
  for (const [id, name] of [['mask-brush', 'brush'], ['mask-eraser', 'eraser'], ['mask-undo', 'undo'], ['mask-redo', 'redo'], ['zoom-out', 'minus'], ['zoom-in', 'plus']]) $(id).prepend(icon(name));
  mask.start(showTools, (place) => {
    brush = place;
    showBrush();
  });
  board.start(showBrush, mask.abandon);
  outpaint.start(limits, board.scaled, (dragged) => (dragged ? board.place() : board.fit()));
  for (const button of $('editor-modes').children) button.onclick = () => setMode(button.dataset.mode);
  $('mask-brush').onclick = () => setTool(false);
  $('mask-eraser').onclick = () => setTool(true);
  $('mask-size').oninput = () => setSize(Number($('mask-size').value));
  for (const [id, does, said] of [['undo', mask.undo, 'Undone'], ['redo', mask.redo, 'Done again'], ['clear', mask.clear, 'Mask cleared'], ['invert', mask.invert, 'Mask inverted']]) {
    $(`mask-${id}`).onclick = () => {
      does();
      announce(said);
    };
  }
  $('zoom-out').onclick = () => board.zoom(1 / closer);
  $('zoom-in').onclick = () => board.zoom(closer);
  $('editor-done').onclick = finish;
  $('editor-cancel').onclick = () => leave();
  $('editor-cancel').onblur = () => sure(false);
  $('editor').addEventListener('cancel', (event) => {
    event.preventDefault();
    leave();
  });
  $('editor').addEventListener('keydown', keys);
}

const load = (id) => new Promise((resolve, reject) => {
  const image = new Image();
  image.onload = () => resolve(image);
  image.onerror = () => reject(new Error('it is no longer there'));
  image.src = imageURL(id);
});

// open edits an image: its id, the mask's, which may be null, and the border. onDone takes {mask, painted, outpaint}.
export async function open(what, inMode, onDone) {
  let image;
  try {
    image = await load(what.id);
  } catch (err) {
    notify(`The image can't be edited: ${err.message}`, { error: true });
    return;
  }
  // A mask that is gone is painted anew.
  const before = what.mask && (await load(what.mask).catch(() => null));
  given = what;
  use = onDone;
  $('board-image').src = image.src;
  $('editor').showModal();
  mask.open(image.naturalWidth, image.naturalHeight, before);
  board.open(image.naturalWidth, image.naturalHeight);
  outpaint.open(image.naturalWidth, image.naturalHeight, what.outpaint);
  const longest = Math.max(image.naturalWidth, image.naturalHeight);
  $('mask-size').max = Math.round(longest / 2);
  setSize(Math.round(longest / 12));
  setTool(false);
  setMode(inMode);
  showTools();
  sure(false);
  (mode === 'mask' ? $('mask-canvas') : $('outpaint-handle-right')).focus({ focusVisible: false });
}

function setMode(name) {
  mode = name;
  for (const button of $('editor-modes').children) button.setAttribute('aria-pressed', button.dataset.mode === mode);
  $('editor').dataset.mode = mode;
  for (const part of $('editor').querySelectorAll('[data-for]')) part.hidden = part.dataset.for !== mode;
  board.fit(mode === 'outpaint');
}

function setTool(erase) {
  mask.use({ erase });
  $('mask-brush').setAttribute('aria-pressed', !erase);
  $('mask-eraser').setAttribute('aria-pressed', erase);
  $('brush').classList.toggle('erase', erase);
}

function setSize(pixels) {
  $('mask-size').value = pixels;
  const size = Number($('mask-size').value);
  mask.use({ size });
  $('mask-size-value').value = `${size} px`;
  $('mask-size').setAttribute('aria-valuetext', `${size} pixels`);
  showBrush();
}

function showTools() {
  $('mask-undo').disabled = !mask.canUndo();
  $('mask-redo').disabled = !mask.canRedo();
}

function showBrush() {
  $('brush').hidden = brush === null || mode !== 'mask';
  if ($('brush').hidden) return;
  const style = $('brush').style;
  const scale = board.scaled();
  style.left = `${brush.x * scale}px`;
  style.top = `${brush.y * scale}px`;
  style.width = `${Number($('mask-size').value) * scale}px`;
}

function keys(event) {
  const typing = event.target.closest('input:not([type="range"])');
  const control = event.ctrlKey || event.metaKey;
  const letter = event.key.toLowerCase();
  let known = true;
  if (control && letter === 'enter') finish();
  else if (mode !== 'mask' || typing || event.altKey) known = false;
  else if (control && (letter === 'y' || (letter === 'z' && event.shiftKey))) mask.redo();
  else if (control && letter === 'z') mask.undo();
  else if (control) known = false;
  else if (letter === 'b') setTool(false);
  else if (letter === 'e') setTool(true);
  else if (letter === '[' || letter === ']') setSize(Number($('mask-size').value) * (letter === '[' ? 0.8 : 1.25));
  else if (letter === '+' || letter === '=') board.zoom(closer);
  else if (letter === '-') board.zoom(1 / closer);
  else if (letter === '0') board.fit();
  else if (event.target === $('mask-canvas')) {
    const did = mask.key(event);
    if (did && brush) board.reveal(brush);
    known = did !== null;
    if (did?.said) announce(did.said);
  } else known = false;
  if (known) event.preventDefault();
}

// sure shows whether leaving is asked about, as paint would be lost.
function sure(asked) {
  $('editor-cancel').classList.toggle('sure', asked);
  $('editor-cancel').textContent = asked ? 'Discard?' : 'Cancel';
}

const isChanged = () => mask.isChanged() || String(outpaint.read()) !== String(given.outpaint);

function leave() {
  if (isChanged() && !$('editor-cancel').classList.contains('sure')) {
    sure(true);
    $('editor-cancel').focus();
    return;
  }
  $('editor').close();
}

// finish uploads the mask, if it is another, and gives what was drawn.
async function finish() {
  if ($('editor-done').disabled) return;
  $('editor-done').disabled = true;
  try {
    const result = { mask: given.mask, outpaint: outpaint.read() };
    const { blob, painted } = await mask.read();
    result.painted = painted;
    if (!blob) result.mask = null;
    else if (mask.isChanged() || !given.mask) result.mask = (await uploadImage(blob)).id;
    $('editor').close();
    use(result);
  } catch (err) {
    notify(`The mask is not kept: ${err.message}`, { error: true });
  } finally {
    $('editor-done').disabled = false;
  }
}

