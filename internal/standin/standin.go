// Package standin recognises what a download leaves in place of a file: a Git LFS pointer, or the page that a web
// server answered with. Whoever reads a model's files asks it first, since parsers only say that such a file is
// damaged.
package standin

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Head is how many bytes from a file's start Describe looks at.
const Head = 1024

// pointerVersions start a Git LFS pointer; the first is today's.
var pointerVersions = []string{"version https://git-lfs.github.com/spec/", "version https://hawser.github.com/spec/", "version http://git-media.io/"}

// pageStarts start a web page or an answer in XML, in lower case.
var pageStarts = map[string]string{
	"<!doctype html": "an HTML page", "<html": "an HTML page", "<head": "an HTML page", "<!--": "an HTML page",
	"<?xml": "an XML document", "<error": "an XML document",
}

// Describe says what a file that starts with data is and what to do about it, as a phrase; it is empty of anything but
// a stand-in.
func Describe(data []byte) string {
	data = data[:min(len(data), Head)]
	for _, version := range pointerVersions {
		if bytes.HasPrefix(data, []byte(version)) {
			return fmt.Sprintf("a Git LFS pointer%s, not the file that it stands for: run \"git lfs pull\" in the repository, or download the file itself", target(string(data)))
		}
	}
	text := strings.ToLower(string(bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")))
	for start, what := range pageStarts {
		if strings.HasPrefix(text, start) {
			return what + ", which a web server answered with, not the file: download the file itself (on a hub, its address has /resolve/ where the page's has /blob/), and log in first where the model asks for it"
		}
	}
	return ""
}

// target names the size that a pointer gives, if it does.
func target(pointer string) string {
	for line := range strings.Lines(pointer) {
		if size, ok := strings.CutPrefix(strings.TrimSpace(line), "size "); ok {
			if n, err := strconv.ParseUint(size, 10, 63); err == nil {
				return fmt.Sprintf(" to %d bytes", n)
			}
		}
	}
	return ""
}
