// Package cli is what the commands share: the flags that pick a device, usage errors and exit statuses, and the program's version.
package cli
