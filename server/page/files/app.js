// Puts the page together.
import './signin.js';
import { connection, getOptions } from './api.js';
import { $ } from './dom.js';
import { notify } from './notify.js';
import { copy, curl } from './params.js';
import { create, jobs, soon } from './jobs.js';
import * as actions from './actions.js';
import * as drop from './drop.js';
import * as form from './form.js';
import * as history from './history.js';
import * as stage from './stage.js';
import * as viewer from './viewer.js';

connection.addEventListener('change', () => {
  $('connection').textContent = connection.up ? '' : 'Reconnecting';
});

async function submit(event) {
  event.preventDefault();
  $('generate').setAttribute('aria-busy', 'true');
  try {
    await create(form.read(), () => notify('The server does not answer. The job is sent as soon as it does.'));
    if (matchMedia('(max-width: 760px)').matches) $('stage').scrollIntoView({ block: 'start' });
  } catch (err) {
    form.showProblem(err);
  } finally {
    $('generate').removeAttribute('aria-busy');
  }
}

// options asks until the server answers.
async function options() {
  for (;;) {
    try {
      return await getOptions();
    } catch (err) {
      $('connection').textContent = err.status === 0 ? 'Reconnecting' : err.message;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

function keys(event) {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('input, textarea, select') || document.querySelector('dialog[open]')) return;
  event.preventDefault();
  $('prompt').focus();
  $('prompt').select();
}

const given = await options();
$('connection').textContent = '';
$('model').textContent = given.models.length === 1 ? given.models[0].name : '';
form.start(given);
actions.start(given);
viewer.start(given);
drop.start();
stage.start(viewer.open);
$('form').addEventListener('submit', submit);
$('copy-form').onclick = () => copy(curl(form.read())).then(() => notify('The command is on the clipboard'), (err) => notify(`Not copied: ${err.message}`, { error: true }));
document.addEventListener('keydown', keys);
jobs.addEventListener('ended', ({ detail: job }) => history.add(job));
jobs.addEventListener('idle', () => history.peek().catch(() => {})); // it is asked again soon
const listed = history.start(viewer.open, (removed) => {
  if (removed) stage.forget(removed);
  form.setLastSeed(history.newest()?.images[0].seed ?? null);
});
soon();
await listed;
document.documentElement.dataset.ready = 'true'; // all is shown that there is
