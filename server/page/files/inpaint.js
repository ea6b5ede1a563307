// What is repainted of the input image: a mask, a border around it, and how.
import { $, h } from './dom.js';
import { imageURL } from './api.js';
import { number } from './units.js';
import * as editor from './editor.js';
import * as outpaint from './outpaint.js';

const form = $('form');
const field = (name) => form.elements.namedItem(name);
const none = [0, 0, 0, 0];
const ownStrength = 0.9999; // what the library takes for inpainting, where a request says nothing

const fills = { original: 'The image', noise: 'Noise', blur: 'Blurred surroundings', nothing: 'Nothing' };
const ways = { stretch: 'Stretched', crop: 'Cropped', fill: 'Filled up' };

let image = null; // id of the image that the mask is of
let mask = null; // id
let painted = null; // the fraction of it that is white, where it was painted here
let border = none;
let changed = () => {};
let strength = () => 0; // without a mask

// start takes the server's options, what to call when something changes, and what gives the model's own strength.
export function start(options, onChange, modelStrength) {
  changed = onChange;
  strength = modelStrength;
  const list = (name, names, words) => field(name).append(...names.map((value) => h('option', { value }, words[value] ?? value)));
  list('inpaint_fill', options.inpaint_fills, fills);
  list('resize', options.resize_modes, ways);
  editor.start(options);
  $('edit-mask').onclick = () => edit('mask');
  $('edit-outpaint').onclick = () => edit('outpaint');
}

function edit(mode) {
  const of = image;
  editor.open({ id: of, mask, outpaint: border }, mode, (result) => {
    if (image !== of) return; // an upload that took its time has replaced it
    put(result.mask, result.outpaint, result.painted);
    changed();
    $(mode === 'mask' ? 'edit-mask' : 'edit-outpaint').focus();
  });
}

// put sets the mask and the border. Strength follows where it is what it is without a choice.
function put(nextMask, nextBorder, nextPainted = null) {
  const own = defaultStrength();
  mask = nextMask;
  border = nextBorder;
  painted = nextPainted;
  if (Number(field('strength').value) === own) field('strength').value = defaultStrength();
}

// defaultStrength is that of an image of which a part is repainted, or of one that changes as a whole.
export const defaultStrength = () => (current() ? ownStrength : strength());

// current reports whether a part of the image is repainted.
export const current = () => mask !== null || border.some((pixels) => pixels > 0);

// sized reports whether the result has the form's size, not the image's.
export const sized = () => field('resize').value !== '' || (current() && field('mask_padding').value.trim() !== '');

// follow keeps the mask for another size of the same image.
export function follow(id) {
  image = id;
}

// show brings the form up to date with the input image, an id or null; another image has no mask.
export function show(id) {
  if (id !== image) {
    image = id;
    put(null, none);
  }
  $('inpaint-options').hidden = !current();
  $('edit-mask').textContent = mask ? 'Edit mask' : 'Paint a mask';
  $('source-paint').hidden = mask === null;
  if (mask) $('source-paint').style.setProperty('--mask', `url("${imageURL(mask)}")`);
  const chip = (text, label, onclick) => h('button', { type: 'button', title: label, 'aria-label': `${label}: ${text}`, onclick }, text, h('span', { 'aria-hidden': 'true' }, ' ×'));
  const drop = (nextMask, nextBorder, then) => () => {
    put(nextMask, nextBorder);
    changed();
    $(then).focus();
  };
  const percent = painted === null ? '' : `, ${painted < 0.01 ? 'less than 1' : Math.round(100 * painted)} %`;
  $('inpaint-parts').replaceChildren(...[
    mask && chip(`Mask${percent}`, 'Remove the mask', drop(null, border, 'edit-mask')),
    border.some((pixels) => pixels > 0) && chip(outpaint.text(border), 'Remove the border', drop(mask, none, 'edit-outpaint')),
  ].filter(Boolean));
  $('inpaint-parts').hidden = !current();
}

// read adds what is repainted to a request, and how.
export function read(request) {
  if (field('resize').value) request.resize = field('resize').value;
  if (!current()) return;
  if (mask) request.mask = mask;
  if (border.some((pixels) => pixels > 0)) request.outpaint = border;
  for (const name of ['mask_blur', 'mask_padding']) {
    const value = number(field(name).value);
    if (value !== undefined) request[name] = value;
  }
  if (field('inpaint_fill').value !== 'original') request.inpaint_fill = field('inpaint_fill').value;
  for (const name of ['soft_mask', 'mask_invert']) if (field(name).checked) request[name] = true;
  if (!field('keep_unmasked').checked) request.keep_unmasked = false;
}

// write shows a request's.
export function write(request) {
  image = request.image ?? null;
  const { outpaint: list } = request;
  mask = (image && request.mask) || null;
  border = image && list ? (Array.isArray(list) ? list : outpaint.sides.map((side) => list[side] ?? 0)) : none;
  painted = null;
  for (const name of ['mask_blur', 'mask_padding']) field(name).value = request[name] ?? '';
  field('inpaint_fill').value = request.inpaint_fill ?? 'original';
  for (const name of ['soft_mask', 'mask_invert']) field(name).checked = request[name] === true;
  field('keep_unmasked').checked = request.keep_unmasked !== false;
  // A size beside an image, without a word of how, is one that it is stretched to.
  field('resize').value = request.resize ?? (image && request.mask_padding == null && (request.width || request.height) ? 'stretch' : '');
}
