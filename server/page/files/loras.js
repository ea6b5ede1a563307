// The adapters of the form: each a name of the server's folder and a strength.
import { $, h } from './dom.js';

let known = [];
let changed = () => {};

// start takes the names that there are, and what to call when the choice changes.
export function start(names, onChange) {
  known = names;
  changed = onChange;
  $('loras-details').hidden = names.length === 0;
  $('lora-add').onclick = () => {
    const row = add({ name: known[0], strength: 1 });
    row.querySelector('select').focus();
    changed();
  };
}

function add({ name, strength }) {
  const names = known.includes(name) ? known : [...known, name]; // the server says whether it has that
  const row = h('div', { class: 'lora' },
    h('select', { 'aria-label': 'LoRA' }, names.map((n) => h('option', { value: n, selected: n === name }, n))),
    h('input', { 'aria-label': 'Strength', value: strength ?? 1, inputmode: 'decimal' }),
    h('button', {
      type: 'button', class: 'quiet', 'aria-label': 'Remove this LoRA',
      onclick: () => {
        row.remove();
        changed();
      },
    }, '×'));
  $('loras').append(row);
  return row;
}

export function read() {
  return [...$('loras').children].map((row) => {
    const text = row.querySelector('input').value.trim().replace(',', '.');
    return { name: row.querySelector('select').value, strength: text === '' ? 1 : Number.isNaN(Number(text)) ? text : Number(text) };
  });
}

// write shows a request's loras: {name, strength}, or "NAME:STRENGTH".
export function write(list) {
  $('loras').replaceChildren();
  for (const item of list) {
    const [name, strength] = typeof item === 'string' ? item.split(':') : [item.name, item.strength];
    add({ name, strength });
  }
  if (list.length > 0) $('loras-details').open = true;
  $('loras-details').hidden = known.length === 0 && list.length === 0;
}
