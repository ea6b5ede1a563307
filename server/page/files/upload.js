// Images on their way to the server, of a size and a type that it takes.
import { uploadImage } from './api.js';
import { size } from './format.js';
import { notify } from './notify.js';

const taken = ['image/png', 'image/jpeg', 'image/webp'];

let options = null;

export function start(given) {
  options = given;
}

// fitted is the model's own number of pixels in an image's shape.
export function fitted(width, height) {
  const base = options.models[0];
  const { multiple } = options.limits;
  const scale = Math.sqrt((base.width * base.height) / (width * height));
  return [width, height].map((side) => Math.max(multiple, Math.round((side * scale) / multiple) * multiple));
}

// upload sends a file to the server and gives what the server calls it, {id, width, height}. A file that is larger than
// the server computes is scaled down, others where fit asks for it; of a type that the server does not take, it becomes
// PNG.
export async function upload(file, fit = false) {
  if (!file.type.startsWith('image/')) throw new Error(`${file.name || 'the file'} is no image`);
  return uploadImage(await prepared(file, fit));
}

async function prepared(file, fit) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error('the browser does not read it');
  });
  try {
    const large = bitmap.width * bitmap.height > options.limits.pixels;
    if (!fit && !large && taken.includes(file.type)) return file;
    const [width, height] = fit || large ? fitted(bitmap.width, bitmap.height) : [bitmap.width, bitmap.height];
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, width, height);
    if (large) notify(`The image was scaled to ${size(width, height)}: its ${size(bitmap.width, bitmap.height)} are more than this server computes`);
    return await toPNG(canvas);
  } finally {
    bitmap.close();
  }
}

// toPNG encodes what is on a canvas.
export const toPNG = (canvas) => new Promise((resolve, reject) => {
  canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the browser does not encode it'))), 'image/png');
});
