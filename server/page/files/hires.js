// The second pass of text-to-image in a larger size: A1111's hires fix.
import { $, h } from './dom.js';
import { known, number } from './units.js';
import { size } from './format.js';

const form = $('form');
const field = (name) => form.elements.namedItem(`hires.${name}`);
const numbers = ['scale', 'num_inference_steps', 'strength'];
const texts = ['prompt', 'negative_prompt', 'scheduler', 'upscaler'];
const own = ['prompt', 'negative_prompt', 'scheduler'];

let names = [];
let fixed = null; // {width, height} of a request, in place of a scale

// start takes the server's options.
export function start(options, onChange) {
  names = options.upscalers;
  const list = (name, first, values) => field(name).replaceChildren(h('option', { value: '' }, first), ...values.map((value) => h('option', { value }, value)));
  list('upscaler', 'Latent', names.filter((name) => name !== 'latent'));
  list('scheduler', 'The same', options.schedulers);
  $('hires-size').onclick = () => {
    fixed = null;
    onChange();
    field('scale').focus();
  };
}

// show brings what depends on other inputs up to date; there is a second pass of text-to-image alone.
export function show(ofText, width, height) {
  $('hires-details').hidden = !ofText;
  $('hires-fields').hidden = !$('hires').checked;
  $('hires-fixed').hidden = fixed === null;
  field('scale').closest('.field').hidden = fixed !== null;
  if (fixed) $('hires-size').replaceChildren(size(fixed.width ?? '?', fixed.height ?? '?'), h('span', { 'aria-hidden': 'true' }, ' ×'));
  const scale = Number(field('scale').value || 2);
  const whole = [width, height].map((side) => Math.floor((side * scale) / 8) * 8);
  $('hires-result').value = size(...whole);
  $('hires-result').parentElement.hidden = fixed !== null || whole.some((side) => !(side > 0));
}

// read adds the second pass to a request.
export function read(request) {
  if (!$('hires').checked) return;
  request.hires = { ...fixed };
  for (const name of numbers) {
    const value = number(field(name).value);
    if (value !== undefined && !(name === 'scale' && fixed)) request.hires[name] = value;
  }
  for (const name of texts) if (field(name).value) request.hires[name] = field(name).value;
}

// write shows a request's second pass.
export function write({ hires }) {
  $('hires').checked = hires != null;
  fixed = hires?.width || hires?.height ? { width: hires.width, height: hires.height } : null;
  const upscaler = hires?.upscaler && hires.upscaler.toLowerCase() !== 'latent' ? known(names, hires.upscaler) : '';
  for (const name of [...numbers, ...texts]) {
    const input = field(name);
    const value = name === 'upscaler' ? upscaler : (hires?.[name] ?? '');
    // The server says whether it has what is not in a list.
    if (input.options && ![...input.options].some((option) => option.value === value)) input.append(h('option', { value }, value));
    input.value = value;
  }
  if (hires) $('hires-details').open = true;
  if (own.some((name) => hires?.[name])) $('hires-own').open = true;
}
