package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

// isImage reports whether a file begins as an image does, of a format that goxl reads or of another.
func isImage(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || strings.EqualFold(filepath.Ext(path), ".safetensors") {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	var other *imagefile.FormatError
	_, err = imagefile.Format(head[:n])
	return err == nil || errors.As(err, &other) && other.Found != ""
}

// image inspects an image file. The error is a file that can't be read.
func (i *inspection) image(path string) ([][2]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	format, err := imagefile.Format(data)
	if err != nil {
		i.problem(err)
		var other *imagefile.FormatError
		if errors.As(err, &other) {
			format = other.Found
		}
		return [][2]string{{"kind", format}}, nil
	}
	facts := [][2]string{{"kind", fmt.Sprintf("a %s image", format)}}
	img, texts, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		i.problem(err)
		if texts, err = imagefile.Texts(data); err != nil {
			texts = nil // the file is truncated, which is reported already
		}
	} else {
		const least = 8
		width, height := img.Bounds().Dx(), img.Bounds().Dy()
		facts = append(facts, [2]string{"size", fmt.Sprintf("%dx%d pixels", width, height)})
		if min(width, height) < least {
			i.problem(fmt.Errorf("refine takes images of at least %d pixels a side", least))
		}
	}
	if i.texts = texts; len(texts) == 0 {
		facts = append(facts, [2]string{"parameters", "none are stored in it"})
	}
	return facts, nil
}

// printTexts prints the texts that are stored in an image, a text a line.
func (i *inspection) printTexts(w io.Writer) {
	if len(i.texts) == 0 {
		return
	}
	fmt.Fprintln(w)
	width := 0
	for _, t := range i.texts {
		width = max(width, utf8.RuneCountInString(printable(t.Key)))
	}
	width = min(width, 24)
	for _, t := range i.texts {
		for k, line := range strings.Split(t.Value, "\n") {
			key := ""
			if k == 0 {
				key = printable(t.Key)
			}
			fmt.Fprintf(w, "  %-*s  %s\n", width, key, printable(line))
		}
	}
}

// printable escapes control characters as Go strings do: anybody may have written the file.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\t' {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
