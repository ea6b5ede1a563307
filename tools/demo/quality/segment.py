"""Finds the things in an image with a plain background, without a network: what differs from the border's colour, in connected parts, each cut out and put on a canvas of
its own as an image of one object."""
import numpy as np
from PIL import Image
from scipy import ndimage

# Chosen on composed scenes alone, sharp ones and softened ones (see score.soften). In units of CIELAB; pixels of 256 x 256; pixels. Parts are not grown before they are
# connected: three in a row stand as near as three pixels.
DIFFERENT, SMALLEST, FILL = 9.0, 60, 160
TINY = 0.15  # a part smaller than this share of the largest belongs to the nearest


def lab(rgb):
    """rgb (h, w, 3), 0..255, to CIELAB (D65)."""
    v = rgb / 255.0
    v = np.where(v > 0.04045, ((v + 0.055) / 1.055) ** 2.4, v / 12.92)
    xyz = v @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def border_colour(rgb):
    return np.median(np.concatenate([rgb[:4].reshape(-1, 3), rgb[-4:].reshape(-1, 3), rgb[:, :4].reshape(-1, 3), rgb[:, -4:].reshape(-1, 3)]), 0)


def overlap(a, b):
    """The share of the smaller of two boxes (top, bottom, left, right) that lies in the other."""
    h, w = min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])
    return max(h, 0) * max(w, 0) / min((a[1] - a[0]) * (a[3] - a[2]), (b[1] - b[0]) * (b[3] - b[2]))


def gap(a, b):
    """The distance of two boxes."""
    return np.hypot(max(a[0] - b[1], b[0] - a[1], 0), max(a[2] - b[3], b[2] - a[3], 0))


def parts(rgb):
    """rgb uint8 (256, 256, 3). Returns [(mask, box, area)], largest first."""
    image = rgb.astype(np.float64)
    differs = np.sqrt(((lab(image) - lab(border_colour(image)[None, None])) ** 2).sum(-1)) > DIFFERENT
    filled = ndimage.binary_fill_holes(ndimage.binary_opening(differs))
    label, count = ndimage.label(filled, np.ones((3, 3)))
    found = []
    for i, (v, h) in enumerate(ndimage.find_objects(label)):
        mask = label == i + 1
        area = int(mask.sum())
        if area >= SMALLEST:
            found.append([mask, (v.start, v.stop, h.start, h.stop), area])
    found.sort(key=lambda f: -f[2])

    def join(i, j):
        a, b = found[i], found.pop(j)
        box = (min(a[1][0], b[1][0]), max(a[1][1], b[1][1]), min(a[1][2], b[1][2]), max(a[1][3], b[1][3]))
        found[i] = [a[0] | b[0], box, a[2] + b[2]]

    again = True
    while again:
        again = False
        for j in range(len(found) - 1, 0, -1):
            i = max(range(j), key=lambda i: overlap(found[i][1], found[j][1]))
            if overlap(found[i][1], found[j][1]) > 0.3:
                join(i, j)
                again = True
                break
            if found[j][2] < TINY * found[0][2]:
                join(min(range(j), key=lambda i: gap(found[i][1], found[j][1])), j)
                again = True
                break
    return sorted(found, key=lambda f: -f[2])


def cut(rgb, part):
    """The part alone on its background, as large as a single object stands in an image: uint8 (256, 256, 3)."""
    mask, (top, bottom, left, right), _ = part
    colour = border_colour(rgb.astype(np.float64))
    alone = np.where(ndimage.binary_dilation(mask, iterations=2)[..., None], rgb, colour).astype(np.uint8)
    scale = FILL / max(bottom - top, right - left)
    h, w = max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale))
    canvas = Image.new("RGB", (256, 256), tuple(int(c) for c in colour))
    canvas.paste(Image.fromarray(alone[top:bottom, left:right]).resize((w, h), Image.BICUBIC), ((256 - w) // 2, (256 - h) // 2))
    return np.array(canvas)
