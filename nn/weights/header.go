package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of a header. SDXL's largest, a single-file checkpoint, has 2,515 tensors and 300 KB; with the limits a hostile
// file is refused before it takes more memory than some three times its header, and time.
const (
	maxHeader  = 100_000_000 // MAX_HEADER_SIZE of the safetensors crate
	maxTensors = 100_000
	maxName    = 1024
	maxRank    = 8
	maxDim     = math.MaxInt32
)

const metadataKey = "__metadata__"

// header is the header of a safetensors file.
type header struct {
	metadata map[string]string
	entries  map[string]*entry // offsets count from the file's start
}

// parseHeader reads the header of a whole file. It refuses what the format forbids: duplicate keys, names that are not
// UTF-8, element types that it does not know, tensors that do not fill the rest of the file exactly once; and headers,
// names and ranks beyond the limits. White space is allowed wherever JSON allows it. Errors come without the file's
// name.
func parseHeader(file []byte) (header, *FileError) {
	if len(file) < 8 {
		return header{}, &FileError{What: fmt.Sprintf("%d bytes are too short for a safetensors file", len(file))}
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader {
		return header{}, &FileError{What: fmt.Sprintf("header of %d bytes", n), Allowed: fmt.Sprintf("at most %d", maxHeader)}
	}
	if n > uint64(len(file)-8) {
		return header{}, &FileError{What: fmt.Sprintf("header of %d bytes, but the file ends after %d: it is truncated", n, len(file)-8)}
	}
	text := file[8 : 8+n]
	if !utf8.Valid(text) {
		return header{}, &FileError{What: "header is not valid UTF-8"}
	}
	s := headerScanner{dec: json.NewDecoder(bytes.NewReader(text)), header: header{entries: map[string]*entry{}}, base: 8 + int(n)}
	s.dec.UseNumber()
	if err := s.read(); err != nil {
		return header{}, err
	}
	if rest := text[s.dec.InputOffset():]; len(bytes.Trim(rest, jsonSpace)) > 0 {
		return header{}, &FileError{What: fmt.Sprintf("header goes on after its JSON object with %.40q", rest), Allowed: "white space"}
	}
	return s.header, s.covered(len(file))
}

// jsonSpace is what JSON allows between its tokens.
const jsonSpace = " \t\r\n"

// headerScanner parses the header token by token, and holds one token at a time.
type headerScanner struct {
	header
	dec    *json.Decoder
	base   int    // where the data starts in the file
	tensor string // whose entry is being read
}

func (s *headerScanner) errorf(format string, a ...any) *FileError {
	return &FileError{Tensor: s.tensor, What: fmt.Sprintf(format, a...)}
}

func (s *headerScanner) token() (json.Token, *FileError) {
	t, err := s.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, &FileError{Tensor: s.tensor, What: "header is not valid JSON", Err: err}
	}
	return t, nil
}

func (s *headerScanner) read() *FileError {
	return s.object("header", func(name string) *FileError {
		if strings.ContainsRune(name, utf8.RuneError) { // a lone surrogate, or an encoder's mark for broken UTF-8
			return s.errorf("tensor name %s is not valid UTF-8", quote(name))
		}
		if name == metadataKey {
			s.metadata = map[string]string{}
			return s.object(metadataKey, func(key string) *FileError {
				v, err := s.token()
				if err != nil {
					return err
				}
				text, ok := v.(string)
				if !ok {
					return s.errorf("%s key %s is not a string", metadataKey, quote(key))
				}
				s.metadata[key] = text
				return nil
			})
		}
		s.tensor = name
		e, err := s.info()
		s.tensor = ""
		s.entries[name] = e
		return err
	})
}

// covered checks that the tensors lie one behind the other from the header to the file's end.
func (s *headerScanner) covered(end int) *FileError {
	at := s.base
	for _, name := range slices.SortedFunc(maps.Keys(s.entries), func(a, b string) int {
		x, y := s.entries[a], s.entries[b]
		return cmp.Or(cmp.Compare(x.begin, y.begin), cmp.Compare(x.end, y.end), cmp.Compare(a, b))
	}) {
		e := s.entries[name]
		if e.begin != at {
			return &FileError{Tensor: name, What: fmt.Sprintf("its data starts at byte %d, but that of the tensors before it ends at %d: the file is damaged", e.begin-s.base, at-s.base)}
		}
		at = e.end
	}
	if at != end {
		return &FileError{What: fmt.Sprintf("the tensors take %d bytes, but %d follow the header: the file is damaged or incomplete", at-s.base, end-s.base)}
	}
	return nil
}

// object reads an object whose values member reads.
func (s *headerScanner) object(what string, member func(key string) *FileError) *FileError {
	if t, err := s.token(); err != nil {
		return err
	} else if t != json.Delim('{') {
		return s.errorf("%s is not an object", what)
	}
	seen := map[string]struct{}{}
	for s.dec.More() {
		t, err := s.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return s.errorf("%s has a key that is not a string", what)
		}
		if len(key) > maxName {
			return &FileError{What: fmt.Sprintf("name of %d bytes, %s", len(key), quote(key)), Allowed: fmt.Sprintf("at most %d", maxName)}
		}
		if _, dup := seen[key]; dup {
			return s.errorf("%s has the key %s twice", what, quote(key))
		}
		seen[key] = struct{}{}
		if len(seen) > maxTensors {
			return &FileError{What: what + " has too many keys", Allowed: fmt.Sprintf("at most %d", maxTensors)}
		}
		if err := member(key); err != nil {
			return err
		}
	}
	_, err := s.token() // the closing brace
	return err
}

// info reads a tensor's entry and checks that its bytes are its shape times its element size.
func (s *headerScanner) info() (*entry, *FileError) {
	var element elementType
	var shape, offsets []uint64
	err := s.object("entry", func(key string) (err *FileError) {
		switch key {
		case "dtype":
			var t json.Token
			if t, err = s.token(); err != nil {
				return err
			}
			name, ok := t.(string)
			if !ok {
				return s.errorf("dtype %v is not a string", t)
			}
			if element, ok = elementTypeNamed(name); !ok {
				return &FileError{Tensor: s.tensor, What: "unknown element type " + quote(name),
					Allowed: usableTypes + " (and the other types of the safetensors format where the tensor is not used)"}
			}
		case "shape":
			shape, err = s.numbers(key, maxRank, maxDim)
		case "data_offsets":
			offsets, err = s.numbers(key, 2, math.MaxInt64)
		default:
			return &FileError{Tensor: s.tensor, What: "unknown key " + quote(key), Allowed: "dtype, shape, data_offsets"}
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case element.name == "":
		return nil, s.errorf("dtype is missing")
	case shape == nil:
		return nil, s.errorf("shape is missing")
	case len(offsets) != 2:
		return nil, s.errorf("data_offsets are missing or not two")
	case offsets[0] > offsets[1]:
		return nil, s.errorf("data_offsets %v run backwards", offsets)
	case offsets[1] > uint64(math.MaxInt-s.base):
		return nil, s.errorf("data_offsets %v are larger than any file; the file is damaged", offsets)
	}
	e := &entry{dtype: element.reads, stored: element.name, cast: element.cast, shape: make([]int, len(shape)),
		size: int64(offsets[1] - offsets[0]), begin: s.base + int(offsets[0]), end: s.base + int(offsets[1])}
	bits := element.bits
	for i, d := range shape {
		if d > 0 && bits > math.MaxInt64/d {
			return nil, s.errorf("shape %v is larger than any file", shape)
		}
		bits *= d
		e.shape[i] = int(d)
	}
	if bits%8 != 0 {
		return nil, s.errorf("shape %v of %s does not end at whole bytes", shape, element.name)
	}
	if have := offsets[1] - offsets[0]; have != bits/8 {
		return nil, s.errorf("%d bytes of data, but shape %v of %s takes %d", have, shape, element.name, bits/8)
	}
	return e, nil
}

// numbers reads a list of at most n integers from 0 to limit.
func (s *headerScanner) numbers(what string, n int, limit uint64) ([]uint64, *FileError) {
	if t, err := s.token(); err != nil {
		return nil, err
	} else if t != json.Delim('[') {
		return nil, s.errorf("%s is not a list", what)
	}
	list := []uint64{}
	for s.dec.More() {
		t, err := s.token()
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, s.errorf("%s holds something that is not a number", what)
		}
		v, bad := strconv.ParseUint(number.String(), 10, 64)
		if bad != nil || v > limit {
			return nil, &FileError{Tensor: s.tensor, What: what + " holds " + shorten(number.String()),
				Allowed: fmt.Sprintf("whole numbers from 0 to %d", limit)}
		}
		if len(list) == n {
			return nil, s.errorf("%s has more than %d entries", what, n)
		}
		list = append(list, v)
	}
	_, err := s.token() // the closing bracket
	return list, err
}
