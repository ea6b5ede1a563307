package server

import (
	"bufio"
	"fmt"
	"testing"
)

// What only a connection can ask is answered in JSON too.
func TestRoutesOnConnection(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, _ *running, l *pipes) {
		for line, want := range map[string]string{
			"CONNECT example.org:443 HTTP/1.1": `404 {"detail":"Not Found"}`,
			"CONNECT /download/x HTTP/1.1":     `405 {"detail":"Method Not Allowed"}`,
			"GET * HTTP/1.1":                   `404 {"detail":"Not Found"}`,
			"GET http://x HTTP/1.1":            `404 {"detail":"Not Found"}`,
			"GET http://x/healthz HTTP/1.1":    `200 {"status":"ok"}`,
			"GET //healthz HTTP/1.1":           `404 {"detail":"Not Found"}`,
			"GET /download/../../x HTTP/1.0":   `404 {"detail":"Not Found"}`,
			"PRI * HTTP/2.0":                   `404 {"detail":"Not Found"}`,
		} {
			client := l.dial(t)
			send(t, client, line+"\r\nHost: x\r\n\r\n")
			resp, body := answer(t, bufio.NewReader(client))
			if got := fmt.Sprint(resp.StatusCode, " ", body); got != want || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s %v, want %s", line, got, resp.Header, want)
			}
			client.Close()
		}
	})
}
