// The image that image-to-image begins with: a file that is uploaded, or an image that the server has.
import { $ } from './dom.js';
import { imageURL, uploadImage } from './api.js';
import { size } from './format.js';
import { notify } from './notify.js';

const taken = ['image/png', 'image/jpeg', 'image/webp'];

let options = null;
let image = null; // {id}
let file = null; // that it was uploaded from, at its own size
let changed = () => {};

// start takes the server's options, and what to call when there is another image.
export function start(given, onChange) {
  options = given;
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
  $('source-image').onload = showSize;
  $('source-image').onerror = () => {
    if (image) notify('The image to begin with is no longer there', { error: true });
    use(null);
    changed();
  };
}

export const current = () => image;

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

// fitted is the model's own number of pixels in an image's shape.
function fitted(width, height) {
  const base = options.models[0];
  const { multiple } = options.limits;
  const scale = Math.sqrt((base.width * base.height) / (width * height));
  return [width, height].map((side) => Math.max(multiple, Math.round((side * scale) / multiple) * multiple));
}

function showSize() {
  const { naturalWidth: width, naturalHeight: height } = $('source-image');
  if (!image || !width) return;
  $('source-size').textContent = size(width, height);
  const [w, h] = fitted(width, height);
  $('source-fit').hidden = !file || width * height < 1.5 * w * h;
  $('source-fit').textContent = `Scale to ${size(w, h)}`;
}

// upload sends a file to the server. One that is larger than the server computes is scaled down, others where fit asks
// for it; of a type that the server does not take, it becomes PNG.
export async function upload(from, fit = false) {
  if (!from.type.startsWith('image/')) {
    notify(`${from.name || 'The file'} is no image`, { error: true });
    return;
  }
  $('source').setAttribute('aria-busy', 'true');
  try {
    const { id } = await uploadImage(await prepared(from, fit));
    use({ id });
    file = from;
    changed();
  } catch (err) {
    notify(`The image can't be used: ${err.message}`, { error: true });
  } finally {
    $('source').removeAttribute('aria-busy');
  }
}

async function prepared(from, fit) {
  const bitmap = await createImageBitmap(from).catch(() => {
    throw new Error('the browser does not read it');
  });
  try {
    const large = bitmap.width * bitmap.height > options.limits.pixels;
    if (!fit && !large && taken.includes(from.type)) return from;
    const [width, height] = fit || large ? fitted(bitmap.width, bitmap.height) : [bitmap.width, bitmap.height];
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, width, height);
    if (large) notify(`The image was scaled to ${size(width, height)}: its ${size(bitmap.width, bitmap.height)} are more than this server computes`);
    return await new Promise((resolve, reject) => {
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the browser does not scale it'))), 'image/png');
    });
  } finally {
    bitmap.close();
  }
}
