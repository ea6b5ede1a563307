// Package imagefile turns images into PNG, JPEG and WebP files that say how they were made, and reads such files back,
// as Pillow and so diffusers do.
//
// Generation parameters travel as text chunks in PNG: tEXt where Latin-1 holds them, iTXt (UTF-8) elsewhere
// (https://www.w3.org/TR/png-3/#11textinfo). JPEG and WebP have A1111's infotext in EXIF's UserComment. Files appear
// under their name only when they are whole and on disk.
package imagefile
