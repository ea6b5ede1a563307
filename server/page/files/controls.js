// The images that steer: ControlNets and T2I-Adapters, each with its image and what a preprocessor makes of that.
import { $, h } from './dom.js';
import { preprocess } from './api.js';
import { picker } from './picker.js';
import * as source from './source.js';
import { known, labelled, number, select, slider } from './units.js';

const pause = 300; // milliseconds without a change, before the preprocessor is asked

let options = null;
let changed = () => {};
let size = () => ({});
let units = [];

// start takes the server's options, what to call when something changes, and what gives the result's {width, height}.
export function start(given, onChange, resultSize) {
  options = given;
  changed = onChange;
  size = resultSize;
  $('controls-details').hidden = !available();
  $('control-add').onclick = () => {
    const unit = add({});
    unit.element.querySelector('.well').focus();
    changed();
  };
}

export const available = () => options.controls.length + options.t2i_adapters.length > 0;

// steer adds a unit with an image, a file or the id of one, and gives its element.
export function steer(image) {
  $('controls-details').open = true;
  const unit = add({ image: typeof image === 'string' ? image : null });
  if (typeof image !== 'string') unit.image.take(image);
  changed();
  unit.element.scrollIntoView({ block: 'nearest' });
  return unit.element;
}

// models are the names of both kinds, each with its kind's field before it, as no folder has a name with a colon.
const models = () => [
  ...options.controls.map((name) => ({ value: `controls:${name}`, text: name })),
  ...options.t2i_adapters.map((name) => ({ value: `t2i_adapters:${name}`, text: options.controls.length > 0 ? `${name} (T2I-Adapter)` : name })),
];

// modes are the kinds of control images of a union, each with all of its names.
const modes = () => options.control_modes.map((names) => ({ value: names[0], text: names.join(', ') }));

// modeOf is the first name of a kind, which a request may give by another, or by its number.
const modeOf = (mode) => options.control_modes.find((names, i) => String(mode) === String(i) || names.includes(mode))?.[0] ?? mode ?? '';

// add shows a unit of a list of a request, "controls" or "t2i_adapters".
function add({ model, image, scale, start: begin, end, mode, preprocessor, guess_mode: guess, ...rest }, list) {
  const name = model === undefined ? models()[0]?.value : `${list}:${known(options[list], model)}`;
  const [processor, ...numbers] = (preprocessor ?? '').split(':');
  const parts = {
    model: select('model', 'ControlNet', models(), name),
    scale: slider('Scale', 'scale', scale ?? 1, 2),
    processor: select('preprocessor', 'Preprocessor', [{ value: '', text: 'None: the image is one' }, ...options.control_preprocessors], processor),
    numbers: h('input', { inputmode: 'decimal', placeholder: 'Defaults', value: numbers.join(':') }),
    mode: select('mode', 'Mode', [{ value: '', text: 'None' }, ...modes()], modeOf(mode)),
    start: h('input', { inputmode: 'decimal', placeholder: '0', value: begin || '', 'data-field': 'start' }),
    end: h('input', { inputmode: 'decimal', placeholder: '1', value: end == null || end === 1 ? '' : end, 'data-field': 'end' }),
    guess: h('input', { type: 'checkbox', checked: guess === true, 'data-field': 'guess_mode' }),
  };
  parts.model.removeAttribute('aria-label');
  parts.processor.removeAttribute('aria-label');
  parts.mode.removeAttribute('aria-label');
  const unit = { parts, rest, asked: '', result: null };
  unit.image = picker({ label: 'Control image', field: 'image', onChange: changed, input: () => source.current()?.id ?? null });
  unit.shown = h('img', { alt: 'What the preprocessor makes of it', hidden: true });
  unit.words = h('span', { role: 'status' });
  unit.well = h('div', { class: 'well' }, unit.shown, unit.words);
  unit.preview = h('div', { hidden: true }, unit.well, h('p', { class: 'hint' }, 'Preprocessed'));
  const modeField = labelled('Mode', parts.mode);
  modeField.hidden = options.control_modes.length === 0;
  unit.numbers = labelled('Its numbers', parts.numbers);
  unit.own = [
    h('div', { class: 'row' }, labelled('Preprocessor', parts.processor), unit.numbers),
    h('div', { class: 'row' }, labelled('From', parts.start), labelled('to', parts.end), modeField),
    h('label', { class: 'check' }, parts.guess, h('span', {}, 'Guess mode')),
  ];
  unit.element = h('div', { class: 'unit', role: 'group', 'aria-label': 'Control' },
    h('div', { class: 'unit-top' }, labelled('Model', parts.model), h('button', {
      type: 'button', class: 'quiet', 'aria-label': 'Remove this control', onclick: () => {
        units = units.filter((each) => each !== unit);
        unit.element.remove();
        $('control-add').focus();
        changed();
      },
    }, '×')),
    h('div', { class: 'wells' }, unit.image.element, unit.preview), parts.scale.element, unit.own);
  if (image) unit.image.set(image);
  units.push(unit);
  $('controls').append(unit.element);
  return unit;
}

const listOf = (unit) => unit.parts.model.value.slice(0, unit.parts.model.value.indexOf(':'));

const preprocessorOf = ({ parts }) => {
  const numbers = parts.numbers.value.trim().replaceAll(/[\s,]+/g, ':');
  return parts.processor.value && numbers ? `${parts.processor.value}:${numbers}` : parts.processor.value;
};

// show brings what depends on other inputs up to date.
export function show() {
  for (const unit of units) {
    const steers = listOf(unit) === 'controls';
    unit.element.dataset.unit = listOf(unit);
    unit.own.forEach((part) => {
      part.hidden = !steers;
    });
    unit.numbers.hidden = unit.parts.processor.value === '';
    unit.image.offer();
    ask(unit, steers ? preprocessorOf(unit) : '');
  }
}

// ask shows what the preprocessor makes of a unit's image, once the reader pauses.
function ask(unit, preprocessor) {
  const image = unit.image.get();
  const request = image && preprocessor ? { image, preprocessor, ...size() } : null;
  const text = JSON.stringify(request);
  if (unit.asked === text) return;
  unit.asked = text;
  clearTimeout(unit.timer);
  unit.preview.hidden = request === null;
  if (request === null) {
    put(unit, null);
    return;
  }
  unit.timer = setTimeout(async () => {
    unit.well.setAttribute('aria-busy', 'true');
    try {
      const blob = await preprocess(request);
      if (unit.asked === text) put(unit, blob);
    } catch (err) {
      if (unit.asked === text) put(unit, null, err.message);
    } finally {
      unit.well.removeAttribute('aria-busy');
    }
  }, pause);
}

function put(unit, blob, problem = '') {
  if (unit.result) URL.revokeObjectURL(unit.result);
  unit.result = blob && URL.createObjectURL(blob);
  unit.shown.hidden = !blob;
  if (blob) unit.shown.src = unit.result;
  else unit.shown.removeAttribute('src');
  unit.words.textContent = problem;
  unit.words.className = problem ? 'problem' : '';
}

// read adds the lists to a request.
export function read(request) {
  for (const unit of units) {
    const { parts } = unit;
    const list = listOf(unit);
    const item = { ...unit.rest, model: parts.model.value.slice(list.length + 1), image: unit.image.get() ?? undefined, scale: number(parts.scale.input.value) };
    if (list === 'controls') {
      Object.assign(item, { start: number(parts.start.value), end: number(parts.end.value) });
      if (parts.mode.value) item.mode = parts.mode.value;
      if (preprocessorOf(unit)) item.preprocessor = preprocessorOf(unit);
      if (parts.guess.checked) item.guess_mode = true;
    }
    (request[list] ??= []).push(item);
  }
}

// write shows a request's lists.
export function write(request) {
  for (const unit of units) {
    clearTimeout(unit.timer);
    put(unit, null);
  }
  units = [];
  $('controls').replaceChildren();
  const list = request.controls ?? request.control ?? [];
  for (const item of Array.isArray(list) ? list : [list]) add(item, 'controls');
  for (const item of request.t2i_adapters ?? []) add(item, 't2i_adapters');
  if (units.length > 0) $('controls-details').open = true;
  $('controls-details').hidden = !available() && units.length === 0;
}
