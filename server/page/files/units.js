// Lists of the form whose items a reader adds and removes: ControlNets with their images, image prompts.
import { h } from './dom.js';

// number reads a text as a number of a request: undefined where it is empty, and as it is where it is none, so that the
// server says so. Whole numbers that a float64 does not hold stay digits.
export function number(text) {
  const trimmed = text.trim().replace(',', '.');
  const value = Number(trimmed);
  return trimmed === '' ? undefined : Number.isNaN(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)) ? trimmed : value;
}

let count = 0;

// labelled is an input with a label of its own above it. The input's data-field is its name in a request.
export function labelled(label, input) {
  input.id = `unit-${++count}`;
  return h('div', { class: 'field' }, h('label', { for: input.id }, label), input);
}

// slider is a range with its value beside the label, rounded to hundredths.
export function slider(label, field, value, most) {
  const input = h('input', { type: 'range', min: 0, max: most, step: 0.05, 'data-field': field });
  input.value = value;
  const output = h('output', {}, String(Number(Number(value).toFixed(2))));
  input.addEventListener('input', () => {
    output.value = Number(Number(input.value).toFixed(2));
  });
  const element = labelled(label, input);
  element.classList.add('range');
  output.htmlFor = input.id;
  input.before(output);
  return { element, input };
}

// select is a list of names. One that it does not have is added, for the server says whether it has that.
export function select(field, label, options, value) {
  const names = options.some((option) => (option.value ?? option) === value) ? options : [...options, value];
  const of = (option) => (typeof option === 'string' ? { value: option, text: option } : option);
  return h('select', { 'data-field': field, 'aria-label': label }, names.map(of).map((o) => h('option', { value: o.value, selected: o.value === value }, o.text)));
}

// known is the name of a list that another name means: itself, or one in other letters, of a folder within, or with an ending.
export function known(names, name) {
  const bare = (path) => path.split('/').at(-1).replace(/\.(safetensors|pth|pt|bin|ckpt)$/, '').toLowerCase();
  return names.includes(name) ? name : (names.find((each) => bare(each) === bare(name)) ?? name);
}
