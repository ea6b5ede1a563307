// Images that are dropped on the page or pasted, and files whose parameters are read.
import { $ } from './dom.js';
import { notify } from './notify.js';
import { readTexts, requestOfTexts } from './metadata.js';
import * as controls from './controls.js';
import * as form from './form.js';
import * as reference from './reference.js';
import * as source from './source.js';

// readParameters fills the form with what a file says of itself.
export async function readParameters(file) {
  let request = null;
  try {
    request = requestOfTexts(await readTexts(file));
  } catch (err) {
    notify(`The file can't be read: ${err.message}`, { error: true });
    return;
  }
  if (!request) {
    notify(`${file.name || 'The file'} does not say how it was made`, { error: true });
    return;
  }
  form.write(request);
  notify('The parameters are in the form');
}

// While the input image is edited, it stays.
const hasFiles = (event) => event.dataTransfer?.types.includes('Files') && !$('editor').open;

// start listens to the whole page.
export function start() {
  const target = $('drop');
  target.querySelector('[data-use="control"]').hidden = !controls.available();
  target.querySelector('[data-use="reference"]').hidden = !reference.available();
  addEventListener('dragenter', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    target.hidden = false;
  });
  addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    for (const zone of target.children) zone.classList.toggle('over', zone === event.target.closest?.('[data-use]'));
  });
  addEventListener('dragleave', (event) => {
    if (event.relatedTarget === null) target.hidden = true;
  });
  addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    target.hidden = true;
    const file = event.dataTransfer.files[0];
    if (!file) return;
    const use = { parameters: readParameters, control: controls.steer, reference: reference.refer }[event.target.closest?.('[data-use]')?.dataset.use];
    (use ?? source.upload)(file);
  });
  addEventListener('paste', (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith('image/'));
    if (!file || $('editor').open) return;
    event.preventDefault();
    source.upload(file);
  });
  $('read-file').onclick = () => $('parameters-file').click();
  $('parameters-file').onchange = () => {
    const file = $('parameters-file').files[0];
    $('parameters-file').value = '';
    if (file) readParameters(file);
  };
}
