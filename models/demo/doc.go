// Package demo embeds a small trained model, a base and its refiner, so that the commands make images without any
// download. MODEL.md says what it can draw and how it was made. The build tag nodemo leaves it out, which makes a
// program some 31 MB smaller.
package demo
