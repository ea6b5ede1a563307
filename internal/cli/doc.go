// Package cli is what both commands use: the flags that pick a device, models by their names, usage errors and exit
// statuses, and the program's version.
package cli
