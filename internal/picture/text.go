package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

const (
	signature  = "\x89PNG\r\n\x1a\n"
	chunkFrame = 12 // length, name and checksum, four bytes each
)

// Text is one text chunk. Key is 1 to 79 printable ASCII characters with no space at either end. A value may be any string; what a
// PNG can't hold, NUL and bytes that are not UTF-8, is stored as U+FFFD.
type Text struct{ Key, Value string }

// chunk encodes t with its frame.
func (t Text) chunk() ([]byte, error) {
	if !isKeyword(t.Key) {
		return nil, fmt.Errorf("PNG text key %q: must be 1 to 79 printable ASCII characters with no space at either end", t.Key)
	}
	value := strings.ReplaceAll(strings.ToValidUTF8(t.Value, "\uFFFD"), "\x00", "\uFFFD")
	if latin1, ok := toLatin1(value); ok {
		return frame("tEXt", []byte(t.Key+"\x00"), latin1), nil
	}
	// Keyword, NUL, not compressed, method 0, no language, no translated keyword.
	return frame("iTXt", []byte(t.Key+"\x00\x00\x00\x00\x00"), []byte(value)), nil
}

func isKeyword(s string) bool {
	if len(s) < 1 || len(s) > 79 || strings.TrimSpace(s) != s {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// toLatin1 gives s as Latin-1, if it is printable Latin-1 and line feeds alone, which is all that tEXt should hold.
func toLatin1(s string) ([]byte, bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff || r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return nil, false
		}
		out = append(out, byte(r))
	}
	return out, true
}

func frame(name string, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	out := binary.BigEndian.AppendUint32(make([]byte, 0, chunkFrame+len(content)), uint32(len(content)))
	out = append(append(out, name...), content...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// nextChunk takes the first chunk off data.
func nextChunk(data []byte) (name string, content, rest []byte, err error) {
	if len(data) < chunkFrame {
		return "", nil, nil, errors.New("a chunk is cut off")
	}
	name = string(data[4:8])
	n := binary.BigEndian.Uint32(data)
	if uint64(n) > uint64(len(data)-chunkFrame) {
		return "", nil, nil, fmt.Errorf("chunk %q is cut off", name)
	}
	end := 8 + int(n)
	if crc32.ChecksumIEEE(data[4:end]) != binary.BigEndian.Uint32(data[end:]) {
		return "", nil, nil, fmt.Errorf("chunk %q has a wrong checksum", name)
	}
	return name, data[8:end], data[end+4:], nil
}

func parseLatin1(content []byte) (Text, error) {
	key, value, ok := bytes.Cut(content, []byte{0})
	if !ok {
		return Text{}, errors.New("a tEXt chunk has no keyword")
	}
	var s strings.Builder
	for _, b := range value {
		s.WriteRune(rune(b))
	}
	return Text{string(key), s.String()}, nil
}

func parseUTF8(content []byte) (Text, error) {
	key, rest, ok := bytes.Cut(content, []byte{0})
	if !ok || len(rest) < 2 {
		return Text{}, errors.New("an iTXt chunk is too short")
	}
	if rest[0] != 0 {
		return Text{}, fmt.Errorf("iTXt chunk %q is compressed", key)
	}
	_, rest, language := bytes.Cut(rest[2:], []byte{0})
	_, value, translated := bytes.Cut(rest, []byte{0})
	if !language || !translated {
		return Text{}, fmt.Errorf("iTXt chunk %q is too short", key)
	}
	return Text{string(key), string(value)}, nil
}
