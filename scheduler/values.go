package scheduler

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// canonical writes a stored value as its field reads it: whole numbers without a point or an exponent, also in lists,
// and null, 0 and 1 as false and true where def, the class's default, is one of these. Other values stay as they are.
func canonical(value json.RawMessage, def any) json.RawMessage {
	value = wholeNumber(value)
	if _, isBool := def.(bool); isBool {
		switch string(value) {
		case "null", "0":
			return json.RawMessage("false")
		case "1":
			return json.RawMessage("true")
		}
		return value
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil || list == nil {
		return value
	}
	for i := range list {
		list[i] = wholeNumber(list[i])
	}
	written, err := json.Marshal(list)
	if err != nil {
		return value
	}
	return written
}

func wholeNumber(value json.RawMessage) json.RawMessage {
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return value
	}
	return json.RawMessage(strconv.FormatInt(int64(f), 10))
}

// quoteNonFinite puts quotes around the bare -Infinity, Infinity and NaN that Python's json writes.
func quoteNonFinite(data []byte) []byte {
	out := make([]byte, 0, len(data))
	inString := false
	for i := 0; i < len(data); {
		if !inString {
			if word := nonFiniteAt(data[i:]); word != "" {
				out = append(out, '"')
				out = append(out, word...)
				out = append(out, '"')
				i += len(word)
				continue
			}
		}
		switch {
		case inString && data[i] == '\\' && i+1 < len(data):
			out = append(out, data[i])
			i++
		case data[i] == '"':
			inString = !inString
		}
		out = append(out, data[i])
		i++
	}
	return out
}

func nonFiniteAt(data []byte) string {
	for _, word := range []string{"-Infinity", "Infinity", "NaN"} {
		if bytes.HasPrefix(data, []byte(word)) {
			return word
		}
	}
	return ""
}
