package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nlpodyssey/safetensors"
)

// Limits of a header. SDXL's largest, a single-file checkpoint, has 2,515 tensors and 300 KB; the limits keep a hostile file from
// taking memory and minutes before it is refused.
const (
	maxHeader  = 32 << 20
	maxTensors = 100_000
	maxName    = 1024
	maxRank    = 8
	maxDim     = math.MaxInt32
)

const metadataKey = "__metadata__"

// checkHeader refuses what the safetensors format forbids and the parser behind it accepts or chokes on: a first byte that is not
// '{', bytes other than spaces after the object, duplicate keys, names that are not UTF-8, and headers, names and ranks beyond the
// limits. Errors come without the file's name. Offsets against each other and against the file's length are left to the parser.
func checkHeader(file []byte) *FileError {
	if len(file) < 8 {
		return &FileError{What: fmt.Sprintf("%d bytes are too short for a safetensors file", len(file))}
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader {
		return &FileError{What: fmt.Sprintf("header of %d bytes", n), Allowed: fmt.Sprintf("at most %d", maxHeader)}
	}
	if n > uint64(len(file)-8) {
		return &FileError{What: fmt.Sprintf("header of %d bytes, but the file ends after %d: it is truncated", n, len(file)-8)}
	}
	text := file[8 : 8+n]
	if len(text) == 0 || text[0] != '{' {
		return &FileError{What: "header is not a JSON object that starts with its first byte"}
	}
	if !utf8.Valid(text) {
		return &FileError{What: "header is not valid UTF-8"}
	}
	s := headerScanner{dec: json.NewDecoder(bytes.NewReader(text))}
	s.dec.UseNumber()
	if err := s.header(); err != nil {
		return err
	}
	if rest := text[s.dec.InputOffset():]; len(bytes.Trim(rest, " ")) > 0 {
		return &FileError{What: fmt.Sprintf("header goes on after its JSON object with %.40q", rest), Allowed: "spaces"}
	}
	return nil
}

// headerScanner walks the header token by token, so that it holds no more of it than one token.
type headerScanner struct {
	dec    *json.Decoder
	tensor string
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

func (s *headerScanner) header() *FileError {
	return s.object("header", func(name string) *FileError {
		if strings.ContainsRune(name, utf8.RuneError) { // a lone surrogate, or an encoder's mark for broken UTF-8
			return s.errorf("tensor name %s is not valid UTF-8", quote(name))
		}
		if name == metadataKey {
			return s.object(metadataKey, func(key string) *FileError {
				v, err := s.token()
				if err != nil {
					return err
				}
				if _, ok := v.(string); !ok {
					return s.errorf("%s key %s is not a string", metadataKey, quote(key))
				}
				return nil
			})
		}
		s.tensor = name
		err := s.info()
		s.tensor = ""
		return err
	})
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
func (s *headerScanner) info() *FileError {
	var dtype *safetensors.DType
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
			d, bad := safetensors.ParseDType(name)
			if bad != nil {
				return &FileError{Tensor: s.tensor, What: "unknown element type " + quote(name),
					Allowed: "F32, F16, BF16 (and F64, BOOL, U8 to I64 where the tensor is not used)"}
			}
			dtype = &d
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
		return err
	case dtype == nil:
		return s.errorf("dtype is missing")
	case shape == nil:
		return s.errorf("shape is missing")
	case len(offsets) != 2:
		return s.errorf("data_offsets are missing or not two")
	case offsets[0] > offsets[1]:
		return s.errorf("data_offsets %v run backwards", offsets)
	}
	size := dtype.Size()
	for _, d := range shape {
		if d > 0 && size > math.MaxInt64/d {
			return s.errorf("shape %v is larger than any file", shape)
		}
		size *= d
	}
	if have := offsets[1] - offsets[0]; have != size {
		return s.errorf("%d bytes of data, but shape %v of %s takes %d", have, shape, dtype, size)
	}
	return nil
}

// numbers reads a list of at most n natural numbers up to most.
func (s *headerScanner) numbers(what string, n int, most uint64) ([]uint64, *FileError) {
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
		if bad != nil || v > most {
			return nil, &FileError{Tensor: s.tensor, What: what + " holds " + shorten(number.String()),
				Allowed: fmt.Sprintf("whole numbers from 0 to %d", most)}
		}
		if len(list) == n {
			return nil, s.errorf("%s has more than %d entries", what, n)
		}
		list = append(list, v)
	}
	_, err := s.token() // the closing bracket
	return list, err
}
