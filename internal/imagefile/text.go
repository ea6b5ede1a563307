package imagefile

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	signature  = "\x89PNG\r\n\x1a\n"
	chunkFrame = 12 // length, name and checksum, four bytes each
)

// Text is one text chunk. Key is 1 to 79 printable ASCII characters with no space at either end. A value may be any
// string; what a PNG can't hold, NUL and bytes that are not UTF-8, is stored as U+FFFD.
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

// toLatin1 gives s as Latin-1, if that has all its characters. Control characters stay in tEXt, as Pillow has them:
// more programs read it than iTXt.
func toLatin1(s string) ([]byte, bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
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

// Most bytes of one inflated text, as Pillow's MAX_TEXT_CHUNK, and of all texts of a file.
const (
	maxText  = 1 << 20
	maxTexts = 16 << 20
)

// parseLatin1 reads the content of a tEXt chunk. It is not ok if that is damaged, as below.
func parseLatin1(content []byte) (Text, bool) {
	key, value, ok := bytes.Cut(content, []byte{0})
	return Text{fromLatin1(key), fromLatin1(value)}, ok && len(key) > 0
}

// parseDeflated reads the content of a zTXt chunk: Latin-1 behind a method, which must be 0.
func parseDeflated(content []byte) (Text, bool) {
	key, value, ok := bytes.Cut(content, []byte{0})
	if !ok || len(key) == 0 || len(value) == 0 || value[0] != 0 {
		return Text{}, false
	}
	inflated, ok := inflate(value[1:])
	return Text{fromLatin1(key), fromLatin1(inflated)}, ok
}

// parseUTF8 reads the content of an iTXt chunk, compressed or not.
func parseUTF8(content []byte) (Text, bool) {
	key, rest, ok := bytes.Cut(content, []byte{0})
	if !ok || len(key) == 0 || len(rest) < 2 {
		return Text{}, false
	}
	compressed, method := rest[0] != 0, rest[1]
	_, rest, language := bytes.Cut(rest[2:], []byte{0})
	_, value, translated := bytes.Cut(rest, []byte{0})
	if !language || !translated || compressed && method != 0 {
		return Text{}, false
	}
	if compressed {
		if value, ok = inflate(value); !ok {
			return Text{}, false
		}
	}
	return Text{fromLatin1(key), string(value)}, utf8.Valid(value)
}

func inflate(data []byte) ([]byte, bool) {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, false
	}
	out, err := io.ReadAll(io.LimitReader(r, maxText+1))
	return out, err == nil && len(out) <= maxText
}

func fromLatin1(b []byte) string {
	var s strings.Builder
	for _, v := range b {
		s.WriteRune(rune(v))
	}
	return s.String()
}
