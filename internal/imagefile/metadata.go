package imagefile

import (
	"encoding/hex"
	"regexp"
	"strings"
)

// metadata is what lies beside the pixels.
type metadata struct {
	texts []Text
	exif  []byte // TIFF, with or without "Exif\0\0" before it; nil is none
	xmp   []byte
}

// keys under which PNG texts hold what is no text.
const (
	xmpKey        = "XML:com.adobe.xmp"
	rawProfileKey = "Raw profile type exif"
)

// add takes a text of a PNG. EXIF as ImageMagick writes it counts where there is no eXIf chunk.
func (m *metadata) add(t Text) {
	switch t.Key {
	case xmpKey:
		m.xmp = []byte(t.Value)
	case rawProfileKey:
		// A line feed, a name and a length, a line each, then hexadecimal digits in lines.
		if parts := strings.SplitN(t.Value, "\n", 4); len(parts) == 4 {
			if profile, err := hex.DecodeString(strings.Join(strings.Fields(parts[3]), "")); err == nil {
				m.exif = profile
			}
		}
	default:
		m.texts = append(m.texts, t)
	}
}

// all are the texts, EXIF's included.
func (m metadata) all() []Text {
	if comment := parseEXIF(m.exif).comment; comment != "" {
		return append(m.texts, Text{"UserComment", comment})
	}
	return m.texts
}

var xmpOrientation = regexp.MustCompile(`tiff:Orientation(?:="|>)([0-9])`)

// orientation is EXIF's, or XMP's where EXIF has none, as in Pillow's getexif; 0 is none.
func (m metadata) orientation() int {
	if e := parseEXIF(m.exif); e.hasOrientation {
		return e.orientation
	}
	if found := xmpOrientation.FindSubmatch(m.xmp); found != nil {
		return int(found[1][0] - '0')
	}
	return 0
}
