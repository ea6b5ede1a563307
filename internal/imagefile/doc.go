// Package imagefile turns images into PNG files that say how they were made, and reads images back: PNG, JPEG and WebP,
// as Pillow and so diffusers do.
//
// Generation parameters travel as text chunks: tEXt where Latin-1 holds them, iTXt (UTF-8) elsewhere
// (https://www.w3.org/TR/png-3/#11textinfo). Files appear under their name only when they are whole and on disk.
package imagefile
