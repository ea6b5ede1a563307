package server

import (
	"fmt"
	"net/http"
	"strings"
)

// Kinds of errors of OpenAI's API alone.
const (
	noModel kind = "model_not_found"
	noAlpha kind = "invalid_mask_image_format"
)

// isOpenAI reports whether a path is one of OpenAI's API.
func isOpenAI(path string) bool {
	return strings.HasPrefix(path, "/v1/images/") || path == "/v1/models" || strings.HasPrefix(path, "/v1/models/")
}

// openAIFault is an error as OpenAI's clients know it. All four members are there, null where there is nothing to say.
type openAIFault struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param" jsonschema:"The field of the request."`
	Code    *string `json:"code"`
}

type openAIErrorBody struct {
	Error openAIFault `json:"error"`
}

// openAIError is the answer to an error.
func openAIError(f *failure) (status int, body openAIErrorBody) {
	status = answers[f.kind].status
	if f.kind == invalid {
		status = http.StatusBadRequest // OpenAI's; 422 is FastAPI's
	}
	e := openAIFault{Message: f.words(), Type: "invalid_request_error"}
	switch {
	case status == http.StatusTooManyRequests:
		e.Type = "rate_limit_error"
	case status >= 500 && f.kind != noRefiner:
		e.Type = "server_error"
	case f.kind == noAlpha:
		e.Type = "image_generation_user_error"
	}
	if f.kind != invalid {
		e.Code = new(string(f.kind))
	}
	if len(f.problems) > 0 {
		var all []string
		for i, p := range f.problems {
			if i == mostLogged {
				all = append(all, fmt.Sprintf("and %d more", len(f.problems)-i))
				break
			}
			all = append(all, p.sentence())
		}
		e.Message = strings.Join(all, "; ")
		if field := f.problems[0].field(); field != "" {
			e.Param = &field
		}
		if f.kind == invalid {
			e.Code = new("invalid_value")
			if f.problems[0].Type == "missing" {
				e.Code = new("missing_required_parameter")
			}
		}
	}
	return status, openAIErrorBody{e}
}

// field is where in the body the problem is, as "loras[0]"; "" is the body.
func (p problem) field() string {
	var name strings.Builder
	for i, at := range p.Loc {
		switch at := at.(type) {
		case string:
			if i == 0 && at == "body" {
				continue
			}
			if name.Len() > 0 {
				name.WriteByte('.')
			}
			name.WriteString(at)
		case int:
			if name.Len() > 0 { // else it is an offset in the body
				fmt.Fprintf(&name, "[%d]", at)
			}
		}
	}
	return name.String()
}

// sentence says what is wrong with which value.
func (p problem) sentence() string {
	text := p.Msg
	if reason, ok := p.Ctx["error"].(string); ok {
		text += ": " + reason
	}
	field := p.field()
	if field == "" {
		return text
	}
	text = field + ": " + strings.TrimPrefix(text, "Value error, ")
	if p.Type != "missing" && len(p.Input) > 0 {
		text += ", got " + beginning(string(p.Input))
	}
	return text
}
