// The image that image-to-image begins with: a file that is uploaded, or an image that the server has.
import { $ } from './dom.js';
import { imageURL } from './api.js';
import { size } from './format.js';
import { notify } from './notify.js';
import * as uploads from './upload.js';

let image = null; // {id}
let file = null; // that it was uploaded from, at its own size
let changed = () => {};

// start takes what to call when there is another image. It gets whether that is the same in another size.
export function start(onChange) {
  changed = onChange;
  $('source-choose').onclick = () => $('source-file').click();
  $('source-file').onchange = () => {
    if ($('source-file').files[0]) upload($('source-file').files[0]);
    $('source-file').value = '';
  };
  $('source-remove').onclick = () => {
    use(null);
    changed();
    $('source-choose').focus();
  };
  $('source-fit').onclick = () => upload(file, true);
  $('source-image').onload = () => {
    showSize();
    changed();
  };
  $('source-image').onerror = () => {
    if (image) notify('The image to begin with is no longer there', { error: true });
    use(null);
    changed();
  };
}

export const current = () => image;

// naturalSize is the image's {width, height}, without them while it is loaded.
export function naturalSize() {
  const { naturalWidth: width, naturalHeight: height } = $('source-image');
  return image && width ? { width, height } : {};
}

// use shows an image of the server, {id}, or none.
export function use(next) {
  if (next?.id !== image?.id || !next) file = null;
  image = next;
  $('source-empty').hidden = image != null;
  $('source-set').hidden = image == null;
  $('source-fit').hidden = true;
  $('source-size').textContent = '';
  if (!image) $('source-image').removeAttribute('src');
  else if ($('source-image').src !== imageURL(image.id)) $('source-image').src = imageURL(image.id);
  else showSize();
}

function showSize() {
  const { naturalWidth: width, naturalHeight: height } = $('source-image');
  if (!image || !width) return;
  $('source-size').textContent = size(width, height);
  const [w, h] = uploads.fitted(width, height);
  $('source-fit').hidden = !file || width * height < 1.5 * w * h;
  $('source-fit').textContent = `Scale to ${size(w, h)}`;
}

// upload begins with a file, scaled to the model's own number of pixels where fit asks for it.
export async function upload(from, fit = false) {
  $('source').setAttribute('aria-busy', 'true');
  try {
    const { id } = await uploads.upload(from, fit);
    use({ id });
    file = from;
    changed(fit);
  } catch (err) {
    notify(`The image can't be used: ${err.message}`, { error: true });
  } finally {
    $('source').removeAttribute('aria-busy');
  }
}
