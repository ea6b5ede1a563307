// A field that holds an image of the server, into which a file is uploaded.
import { h } from './dom.js';
import { thumbnailURL } from './api.js';
import { notify } from './notify.js';
import { upload } from './upload.js';

// picker makes such a field. label names the image; field is its name in a request; onChange is called when there is
// another image. input gives the id of the form's input image, if that is offered. The field has element, get and set.
export function picker({ label, field, onChange, input = () => null }) {
  let id = null;
  const file = h('input', { type: 'file', accept: 'image/*', hidden: true, 'aria-label': `${label}, a file` });
  const image = h('img', { alt: '', hidden: true }); // the button has the label
  const choose = h('button', { type: 'button', class: 'well', 'data-field': field, onclick: () => file.click() }, image, h('span', {}, label));
  const same = h('button', { type: 'button', class: 'quiet', onclick: () => put(input()) }, 'The input image');
  const remove = h('button', {
    type: 'button', class: 'quiet', hidden: true, onclick: () => {
      put(null);
      choose.focus();
    },
  }, 'Remove');
  const element = h('div', { class: 'picker' }, choose, h('div', { class: 'picker-links' }, same, remove), file);

  const show = () => {
    image.hidden = id === null;
    if (id === null) image.removeAttribute('src');
    else image.src = thumbnailURL(id, 384);
    choose.setAttribute('aria-label', id === null ? `Choose: ${label}` : `Choose another: ${label}`);
    remove.hidden = id === null;
    offer();
  };
  const offer = () => {
    same.hidden = id !== null || input() === null;
  };
  const put = (next) => {
    id = next;
    show();
    onChange();
  };
  const take = async (from) => {
    if (!from) return;
    element.setAttribute('aria-busy', 'true');
    try {
      put((await upload(from)).id);
    } catch (err) {
      notify(`The image can't be used: ${err.message}`, { error: true });
    } finally {
      element.removeAttribute('aria-busy');
    }
  };
  file.onchange = () => {
    take(file.files[0]);
    file.value = '';
  };
  image.onerror = () => {
    if (id === null) return;
    notify(`${label}: the image is no longer there`, { error: true });
    put(null);
  };
  show();
  return {
    element, take, offer,
    get: () => id,
    set: (next) => {
      id = next;
      show();
    },
  };
}
