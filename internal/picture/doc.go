// Package picture turns images into PNG files that say how they were made, and reads them back.
//
// The facts travel as text chunks: tEXt where Latin-1 holds them, iTXt (UTF-8) elsewhere, as the PNG specification asks
// (https://www.w3.org/TR/png-3/#11textinfo). Files appear under their name only when they are whole and on disk.
package picture
