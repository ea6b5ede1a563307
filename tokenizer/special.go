package tokenizer

import (
	"encoding/json"
	"fmt"
)

// tokenJSON is a token with its flags as the reference's AddedToken.
type tokenJSON struct {
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized *bool  `json:"normalized"`
	Special    bool   `json:"special"`
}

// token converts j; special makes it a special token whatever j says. Special tokens match in raw text unless the flags
// say otherwise, other added tokens in normalised text.
func (j tokenJSON) token(id int32, special bool) addedToken {
	normalised := !special && !j.Special
	if j.Normalized != nil {
		normalised = *j.Normalized
	}
	return addedToken{content: j.Content, id: id, singleWord: j.SingleWord, lstrip: j.LStrip, rstrip: j.RStrip, normalised: normalised}
}

// noID marks a token whose id is still to be found.
const noID = -1

// parseToken reads a special token, which is a string or an object with flags. ok is false for null.
func parseToken(data json.RawMessage) (t addedToken, ok bool, err error) {
	if string(data) == "null" {
		return addedToken{}, false, nil
	}
	var text string
	if json.Unmarshal(data, &text) == nil {
		return addedToken{content: text, id: noID, plain: true}, true, nil
	}
	var j tokenJSON
	if err := json.Unmarshal(data, &j); err != nil || j.Content == "" {
		return addedToken{}, false, fmt.Errorf("%s is neither a string nor an object with a content", data)
	}
	return j.token(noID, true), true, nil
}

// parseTokens reads a list of special tokens.
func parseTokens(data json.RawMessage) ([]addedToken, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%.60s is neither a list of tokens nor an object of them", data)
	}
	var tokens []addedToken
	for _, item := range list {
		t, ok, err := parseToken(item)
		if err != nil || !ok {
			return nil, fmt.Errorf("%s is not a token", item)
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}
