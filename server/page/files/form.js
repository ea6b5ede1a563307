// The form: what it holds is a request, which it gives, takes and keeps in the browser's storage.
import { $, h } from './dom.js';
import { fillOptions, joinScheduler, modelOf, splitScheduler, showShape } from './choices.js';
import { number } from './units.js';
import * as controls from './controls.js';
import * as hires from './hires.js';
import * as inpaint from './inpaint.js';
import * as loras from './loras.js';
import * as reference from './reference.js';
import * as source from './source.js';
import * as uploads from './upload.js';

const key = 'goxl.form';
const form = $('form');
const field = (name) => form.elements.namedItem(name);

let options = null;
let extra = {}; // fields of a request that the form has no input for
let lastSeed = null;

// Fields of a request that are inputs of the form.
const own = [
  'prompt', 'negative_prompt', 'width', 'height', 'num_inference_steps', 'guidance_scale', 'seed', 'n', 'scheduler', 'model', 'preset', 'prompt_style',
  'clip_skip', 'refiner', 'denoising_end', 'output_format', 'strength', 'image', 'loras', 'preview_every', 'task',
  'mask', 'outpaint', 'mask_blur', 'mask_padding', 'inpaint_fill', 'soft_mask', 'mask_invert', 'keep_unmasked', 'resize',
  'controls', 'control', 't2i_adapters', 'ip_adapters', 'hires',
];

// start fills the form for a server's options, with what was kept.
export function start(given) {
  options = given;
  fillOptions(options);
  loras.start(options.loras, changed);
  uploads.start(options);
  source.start((scaled) => {
    if (scaled) inpaint.follow(source.current().id);
    changed();
  });
  inpaint.start(options, changed, () => base().refiner?.strength ?? base().strength);
  controls.start(options, changed, resultSize);
  reference.start(options, changed);
  hires.start(options, changed);
  $('count-field').hidden = options.limits.n === 1;
  field('n').max = options.limits.n;
  field('num_inference_steps').max = options.limits.num_inference_steps;
  for (const side of ['width', 'height']) Object.assign(field(side), { step: options.limits.multiple, min: options.limits.multiple, max: options.limits.side });
  write(kept() ?? {});
  field('strength').addEventListener('input', (event) => {
    event.target.value = Number(event.target.value).toFixed(2);
  });
  form.addEventListener('input', changed);
  form.addEventListener('change', changed);
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  $('seed-random').onclick = () => set('seed', '');
  $('seed-last').onclick = () => lastSeed != null && set('seed', lastSeed);
  $('swap').onclick = () => {
    const { value } = field('width');
    field('width').value = field('height').value;
    set('height', value);
  };
  $('shapes').onclick = (event) => {
    const shape = event.target.closest('button');
    if (!shape) return;
    field('width').value = shape.dataset.width;
    set('height', shape.dataset.height);
  };
  $('reset').onclick = () => {
    const { prompt, negative_prompt } = read();
    write({ prompt, negative_prompt });
  };
}

function set(name, value) {
  field(name).value = value;
  changed();
}

// base is the model that is chosen.
const base = () => modelOf(options, field('model').value);

// model is the defaults of the model that is going to compute.
function model() {
  const { refiner } = base();
  return source.current() && field('on_refiner').checked && refiner ? refiner : base();
}

// changed shows what depends on other inputs, and keeps the form.
function changed() {
  clearProblem();
  const image = source.current();
  const { num_inference_steps: steps, guidance_scale: guidance } = model();
  // A few-step preset has other defaults, which the server chooses.
  const byPreset = field('preset').value !== '' && field('preset').value !== 'none';
  field('num_inference_steps').placeholder = byPreset ? 'Preset' : steps;
  field('guidance_scale').placeholder = byPreset ? 'Preset' : guidance;
  field('denoising_end').placeholder = options.denoising_end ?? '';
  $('denoising_end').closest('.field').hidden = !field('refiner').checked;
  inpaint.show(image?.id ?? null);
  controls.show();
  reference.show();
  hires.show(image == null, Number(field('width').value), Number(field('height').value));
  $('size').hidden = image != null && !inpaint.sized();
  $('ensemble').hidden = !base().refiner || image != null;
  $('on-refiner').hidden = !base().refiner;
  $('strength-value').value = Number(Number(field('strength').value).toFixed(4));
  $('seed-last').hidden = lastSeed == null;
  $('seed-random').hidden = field('seed').value === '';
  showShape(field('width').value, field('height').value);
  $('generate-label').textContent = inpaint.current() ? 'Repaint' : image ? 'Generate from image' : 'Generate';
  keep(read());
}

// resultSize is {width, height} of what is computed, as far as it is known here.
function resultSize() {
  const own = source.naturalSize();
  if (source.current() && !inpaint.sized()) return own;
  const [width, height] = ['width', 'height'].map((side) => Number(field(side).value));
  return width > 0 && height > 0 ? { width, height } : {};
}

// read is the body of POST /v1/jobs that the form asks for.
export function read() {
  const request = { ...extra, prompt: field('prompt').value };
  const add = (name, value) => {
    if (value !== undefined && value !== '') request[name] = value;
  };
  add('negative_prompt', field('negative_prompt').value);
  const image = source.current();
  if (image) {
    request.image = image.id;
    request.strength = Number(field('strength').value);
    if (base().refiner) request.refiner = field('on_refiner').checked;
    inpaint.read(request);
  } else {
    hires.read(request);
    if (base().refiner && field('refiner').checked) {
      request.refiner = true;
      add('denoising_end', number(field('denoising_end').value));
    }
  }
  if (!image || inpaint.sized()) for (const side of ['width', 'height']) add(side, number(field(side).value));
  controls.read(request);
  reference.read(request);
  for (const name of ['num_inference_steps', 'guidance_scale', 'seed', 'clip_skip']) add(name, number(field(name).value));
  if (field('n').value !== '' && field('n').value !== '1') add('n', number(field('n').value));
  add('scheduler', joinScheduler(field('scheduler').value, field('schedule').value));
  if (options.models.length > 1) add('model', field('model').value);
  add('preset', field('preset').value);
  add('prompt_style', field('prompt_style').value);
  if (field('output_format').value !== 'png') add('output_format', field('output_format').value);
  const chosen = loras.read();
  if (chosen.length > 0) request.loras = chosen;
  if (field('preview').checked) request.preview_every = 1;
  return request;
}

// write fills the form with a request. What the request does not have gets its default.
export function write(request) {
  const chosen = modelOf(options, request.model);
  const put = (name, value) => {
    const input = field(name);
    if (input.tagName === 'SELECT' && value !== '' && ![...input.options].some((o) => o.value === String(value))) {
      input.append(h('option', { value }, value)); // the server says whether it has that
    }
    input.value = value;
  };
  put('prompt', request.prompt ?? '');
  put('negative_prompt', request.negative_prompt ?? '');
  put('width', request.width ?? chosen.width);
  put('height', request.height ?? chosen.height);
  for (const name of ['num_inference_steps', 'guidance_scale', 'seed', 'clip_skip', 'preset', 'denoising_end']) put(name, request[name] ?? '');
  put('n', request.n ?? 1);
  const [sampler, schedule] = splitScheduler(request.scheduler ?? '', options);
  put('scheduler', sampler);
  put('schedule', schedule);
  put('model', request.model ?? chosen.name);
  put('prompt_style', request.prompt_style ?? 'a1111');
  put('output_format', request.output_format ?? 'png');
  inpaint.write(request);
  put('strength', request.strength ?? inpaint.defaultStrength());
  field('refiner').checked = !request.image && request.refiner === true;
  field('on_refiner').checked = request.refiner ?? false;
  field('preview').checked = request.preview_every !== 0;
  loras.write(request.loras ?? []);
  hires.write(request);
  controls.write(request);
  reference.write(request);
  source.use(request.image ? { id: request.image } : null);
  extra = Object.fromEntries(Object.entries(request).filter(([name]) => !own.includes(name)));
  if (request.negative_prompt === '') extra.negative_prompt = ''; // encoded, which none is not
  showExtra();
  changed();
}

// merge fills some fields in and leaves the others, but for a mask of another image.
export function merge(fields) {
  const request = read();
  if (fields.image) {
    if (inpaint.current() && request.strength === inpaint.defaultStrength()) delete request.strength;
    for (const name of ['mask', 'outpaint', ...(source.current() ? [] : ['width', 'height'])]) delete request[name];
  }
  write({ ...request, ...fields });
}

function showExtra() {
  const names = Object.keys(extra);
  $('extra-field').hidden = names.length === 0;
  $('extra').replaceChildren(...names.map((name) => h('button', {
    type: 'button', title: 'Leave this out', 'aria-label': `Leave out ${name}`,
    onclick: () => {
      delete extra[name];
      showExtra();
      changed();
    },
  }, `${name}: ${JSON.stringify(extra[name])}`, h('span', { 'aria-hidden': 'true' }, ' ×'))));
  if (names.length > 0) $('advanced').open = true;
}

// setLastSeed notes the seed of the newest image.
export function setLastSeed(seed) {
  lastSeed = seed;
  $('seed-last').hidden = seed == null;
}

// showProblem says why a request was refused, at the fields that it is about.
export function showProblem(problem) {
  clearProblem();
  $('problem').textContent = problem.message;
  $('problem').hidden = false;
  let first = null;
  for (const { loc } of problem.fields ?? []) {
    const input = inputOf(loc);
    if (!input) continue;
    input.setAttribute('aria-invalid', 'true');
    input.setAttribute('aria-describedby', 'problem');
    for (let part = input.closest('details'); part; part = part.parentElement.closest('details')) part.open = true;
    first ??= input;
  }
  first?.focus();
}

// inputOf is the input of a field of a request, by the way to it: ["controls", 0, "image"], say.
function inputOf([name, ...rest]) {
  if (typeof rest[0] === 'number') {
    const item = form.querySelectorAll(`[data-unit="${name}"]`)[rest[0]];
    return item?.querySelector(`[data-field="${rest[1]}"]`) ?? item?.querySelector('input, select');
  }
  const input = field([name, ...rest].join('.')) ?? field(name) ?? form.querySelector(`[data-field="${name}"]`);
  return input instanceof Element ? input : null;
}

function clearProblem() {
  $('problem').hidden = true;
  for (const input of form.querySelectorAll('[aria-invalid]')) {
    input.removeAttribute('aria-invalid');
    input.removeAttribute('aria-describedby');
  }
}

function keep(request) {
  try {
    localStorage.setItem(key, JSON.stringify({ ...request, preview_every: request.preview_every ?? 0 }));
  } catch { // storage is full or turned off: the page works without
  }
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}
