package server

import (
	"strings"
	"testing"

	"github.com/goxl/goxl/server/auth"
)

// Images of OpenAI's routes are their user's, behind a proxy too, and whoever lacks a token is refused in OpenAI's
// form.
func TestOpenAIOwners(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use}, auth.User{Name: "bert", Role: auth.Use})
	b := loadedBench(t, func(c *Config) { c.Tokens, c.BasePath = m.path, "/x" })
	anna, bert := m.bearer("anna"), m.bearer("bert")
	const path = "/x/v1/images/generations"
	a := generated(t, b.ask("POST", path, `{"prompt":"a","n":2}`, anna...))
	for _, img := range a.Data {
		at := strings.TrimPrefix(img.URL, "http://example.com")
		if at != "/x/download/"+img.ID || b.ask("GET", at, "", anna...).Code != 200 || b.ask("GET", at, "", bert...).Code != 404 {
			t.Errorf("%s", img.URL)
		}
	}
	edit := `{"prompt":"a","images":[{"file_id":"` + a.Data[0].ID + `"}]}`
	if w := b.ask("POST", "/x/v1/images/edits", edit, bert...); w.Code != 404 || !strings.Contains(w.Body.String(), `"code":"image_not_found"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	generated(t, b.ask("POST", "/x/v1/images/edits", edit, anna...))
	const want = `{"error":{"message":"Not authenticated","type":"invalid_request_error","param":null,"code":"no_token"}}`
	if w := b.ask("POST", path, plain); w.Code != 401 || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	owner, known, err := b.journal.OwnerOfBlob(a.Data[1].ID)
	if owner != "anna" || !known || err != nil {
		t.Errorf("the owner is %q, %v", owner, err)
	}
}
