// Short messages, which screen readers read out.
import { $, h } from './dom.js';

const shown = 6000; // milliseconds

// above puts messages into a dialog that is open, which all else lies below.
function above() {
  const host = [...document.querySelectorAll('dialog[open]')].at(-1) ?? document.body;
  if ($('notes').parentElement !== host) host.append($('notes'), $('announce'));
}

document.addEventListener('close', () => above(), true);

// notify shows a message for some seconds; an error stays until it is closed.
export function notify(text, { error = false } = {}) {
  const close = () => note.remove();
  const note = h('div', { class: error ? 'note error' : 'note' }, h('span', {}, text),
    h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close the message', onclick: close }, '×'));
  above();
  $('notes').append(note);
  while ($('notes').children.length > 4) $('notes').firstChild.remove();
  if (!error) setTimeout(close, shown);
}

// announce is for screen readers alone.
export function announce(text) {
  above();
  if ($('announce').textContent !== text) $('announce').textContent = text;
}
