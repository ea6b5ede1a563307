// The comment in the EXIF block of a JPEG or WebP file, where A1111 and goxl write infotext.

const tagExif = 0x8769;
const tagUserComment = 0x9286;
const code = 8; // bytes before the text, which name its encoding

// readComment gives the comment of a file, or "" where there is none.
export function readComment(bytes) {
  try {
    const block = findJPEG(bytes) ?? findWebP(bytes);
    return block ? comment(block) : '';
  } catch (err) {
    if (err instanceof RangeError) return ''; // a damaged block
    throw err;
  }
}

const ascii = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));

function findJPEG(bytes) {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
    const length = view.getUint16(at + 2);
    if (bytes[at + 1] === 0xe1 && ascii(bytes, at + 4, 6) === 'Exif\0\0') return bytes.subarray(at + 10, at + 2 + length);
    at += 2 + length;
  }
  return null;
}

function findWebP(bytes) {
  if (ascii(bytes, 0, 4) !== 'RIFF' || ascii(bytes, 8, 4) !== 'WEBP') return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 12; at + 8 <= bytes.length;) {
    const length = view.getUint32(at + 4, true);
    if (ascii(bytes, at, 4) === 'EXIF') {
      const block = bytes.subarray(at + 8, at + 8 + length);
      return ascii(block, 0, 6) === 'Exif\0\0' ? block.subarray(6) : block;
    }
    at += 8 + length + (length % 2);
  }
  return null;
}

function comment(block) {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  const little = ascii(block, 0, 2) === 'II';
  const details = entry(view, little, view.getUint32(4, little), tagExif);
  const found = details && entry(view, little, view.getUint32(details.at, little), tagUserComment);
  if (!found || found.count <= code) return '';
  const at = found.count > 4 ? view.getUint32(found.at, little) : found.at;
  const text = block.subarray(at + code, at + found.count);
  if (ascii(block, at, code) !== 'UNICODE\0') return new TextDecoder().decode(text).replace(/\0+$/, '');
  // UTF-16 in an order that EXIF does not name: the zero bytes of Latin letters show it.
  const zeros = [0, 0];
  text.forEach((byte, i) => byte === 0 && zeros[i % 2]++);
  return new TextDecoder(zeros[1] > zeros[0] ? 'utf-16le' : 'utf-16be').decode(text).replace(/\0+$/, '');
}

// entry finds a tag in a directory: how many values it has, and where they, or their offset, lie.
function entry(view, little, directory, tag) {
  const count = view.getUint16(directory, little);
  for (let i = 0; i < count; i++) {
    const at = directory + 2 + 12 * i;
    if (view.getUint16(at, little) === tag) return { count: view.getUint32(at + 4, little), at: at + 8 };
  }
  return null;
}
