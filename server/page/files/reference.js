// Reference images: IP-Adapters, each with the images that it reads beside the prompt.
import { $, h } from './dom.js';
import { picker } from './picker.js';
import * as source from './source.js';
import { known, labelled, number, select, slider } from './units.js';

let names = [];
let changed = () => {};
let units = [];

// start takes the server's options, and what to call when something changes.
export function start(given, onChange) {
  names = given.ip_adapters;
  changed = onChange;
  $('references-details').hidden = !available();
  $('reference-add').onclick = () => {
    const unit = add({});
    unit.element.querySelector('.well').focus();
    changed();
  };
}

export const available = () => names.length > 0;

// refer adds a unit with an image, a file or the id of one, and gives its element.
export function refer(image) {
  $('references-details').open = true;
  const unit = add({ image: typeof image === 'string' ? image : null });
  if (typeof image !== 'string') unit.images[0].take(image);
  changed();
  unit.element.scrollIntoView({ block: 'nearest' });
  return unit.element;
}

// add shows an item of a request's ip_adapters. What it has no input for, as scales of blocks, it keeps.
function add({ model, image, images, scale, ...rest }) {
  const unit = { rest, images: [], pickers: h('div', { class: 'wells' }), scale: slider('Scale', 'scale', scale ?? 1, 2) };
  unit.model = select('model', 'IP-Adapter', names, model === undefined ? names[0] : known(names, model));
  unit.model.removeAttribute('aria-label');
  unit.element = h('div', { class: 'unit', role: 'group', 'aria-label': 'Reference', 'data-unit': 'ip_adapters' },
    h('div', { class: 'unit-top' }, labelled('Model', unit.model), h('button', {
      type: 'button', class: 'quiet', 'aria-label': 'Remove this reference', onclick: () => {
        units = units.filter((each) => each !== unit);
        unit.element.remove();
        $('reference-add').focus();
        changed();
      },
    }, '×')),
    unit.pickers, unit.scale.element);
  for (const id of images ?? [image].flat()) if (id) well(unit, id);
  if (rest.scales !== undefined) unit.scale.element.hidden = true; // they take its place
  well(unit, null);
  units.push(unit);
  $('references').append(unit.element);
  return unit;
}

// well adds a field for an image. There is always an empty one behind the others.
function well(unit, id) {
  const field = picker({
    label: 'Reference image', field: unit.images.length === 0 ? 'image' : null, input: () => source.current()?.id ?? null,
    onChange: () => {
      const empty = unit.images.filter((each) => each.get() === null);
      if (empty.length === 0) well(unit, null);
      for (const each of empty.slice(0, -1)) {
        each.element.remove();
        unit.images = unit.images.filter((other) => other !== each);
      }
      changed();
    },
  });
  if (id) field.set(id);
  unit.images.push(field);
  unit.pickers.append(field.element);
}

// show brings what depends on other inputs up to date.
export const show = () => units.forEach((unit) => unit.images.forEach((image) => image.offer()));

// read adds the list to a request.
export function read(request) {
  for (const unit of units) {
    const images = unit.images.map((image) => image.get()).filter((id) => id !== null);
    const item = { ...unit.rest, model: unit.model.value };
    if (images.length === 1) item.image = images[0];
    else if (images.length > 1) item.images = images;
    if (unit.rest.scales === undefined) item.scale = number(unit.scale.input.value);
    (request.ip_adapters ??= []).push(item);
  }
}

// write shows a request's list.
export function write(request) {
  units = [];
  $('references').replaceChildren();
  for (const item of request.ip_adapters ?? []) add(item);
  if (units.length > 0) $('references-details').open = true;
  $('references-details').hidden = !available() && units.length === 0;
}
