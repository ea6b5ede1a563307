package standin

import (
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5135149760\n"
	for data, want := range map[string]string{
		pointer: "a Git LFS pointer to 5135149760 bytes,",
		strings.ReplaceAll(pointer, "\n", "\r\n"): "a Git LFS pointer to 5135149760 bytes,",
		pointer[:50]: "a Git LFS pointer,",
		"version https://hawser.github.com/spec/v1\nsize x\n": "a Git LFS pointer,",
		"<!DOCTYPE html>\n<html class=\"\">":                  "an HTML page",
		"\ufeff \r\n<HTML>":                                   "an HTML page",
		"<?xml version=\"1.0\"?><Error><Code>AccessDenied":    "an XML document",
		"<!-- saved -->" + strings.Repeat("x", 2*Head):        "an HTML page",
		"":                                   "",
		"{}":                                 "",
		"#version: 0.2\ni n\n":               "",
		"version 2":                          "",
		"<|startoftext|>":                    "",
		strings.Repeat(" ", Head) + "<html>": "",
		"\x00\x01\x02\x03\x04\x05\x06\x07{\"a\":\"<html>\"}":   "",
		"  version https://git-lfs.github.com/spec/v1 (cited)": "",
	} {
		got := Describe([]byte(data))
		if (want == "") != (got == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%.40q: %q, want %q", data, got, want)
		}
		if strings.Contains(got, "LFS") && !strings.Contains(got, "git lfs pull") || want != "" && !strings.Contains(got, "download the file itself") {
			t.Errorf("%.40q: %q does not say what to do", data, got)
		}
	}
}
