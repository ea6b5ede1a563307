package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// expectation is what must come of bytes of which two parties may read different requests.
type expectation int

const (
	rejected expectation = iota // one answer, an error, and the connection is closed
	single                      // one answer, whatever it is, and the connection is closed
	most1                       // one answer at most
	exactly1                    // one answer, and the connection goes on
	exactly2                    // two answers: what is sent is clear
)

// smuggled is a request that a second party may see, or not.
const smuggled = "GET /healthz?smuggled HTTP/1.1\r\n" + hostLine + "\r\n"

const (
	postLine = "POST /v1/jobs/cancel HTTP/1.1\r\n" + hostLine + jsonLine
	idsBody  = `{"ids":[]}` // of 10 bytes
	noChunks = "0\r\n\r\n"
)

// pairs are requests that have another one in them.
var pairs = []struct {
	name, text string
	want       expectation
}{
	{"clear: a length", postLine + "Content-Length: 10\r\n\r\n" + idsBody + smuggled, exactly2},
	{"clear: chunks", postLine + "Transfer-Encoding: chunked\r\n\r\na\r\n" + idsBody + "\r\n" + noChunks + smuggled, exactly2},
	{"clear: a request as the body", postLine + lengthLine(len(smuggled)) + "\r\n" + smuggled, exactly1},

	{"length and chunks, by the length", postLine + lengthLine(len(noChunks)+len(smuggled)) + "Transfer-Encoding: chunked\r\n\r\n" + noChunks + smuggled, single},
	{"chunks and length, by the chunks", postLine + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunk(smuggled) + noChunks, single},
	{"length in lower case and chunks", postLine + "content-length: 10\r\ntransfer-encoding:chunked\r\n\r\n" + noChunks + smuggled, single},
	{"a tab before chunked", postLine + lengthLine(5) + "Transfer-Encoding:\tchunked\r\n\r\n" + noChunks + smuggled, single},
	{"chunked twice", postLine + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + noChunks + smuggled, rejected},
	{"chunked and identity", postLine + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + noChunks + smuggled, rejected},
	{"chunked, identity", postLine + "Transfer-Encoding: chunked, identity\r\n\r\n" + noChunks + smuggled, rejected},
	{"identity, chunked", postLine + "Transfer-Encoding: identity, chunked\r\n\r\n" + noChunks + smuggled, rejected},
	{"xchunked", postLine + lengthLine(5) + "Transfer-Encoding: xchunked\r\n\r\n" + noChunks + smuggled, rejected},
	{"a vertical tab before chunked", postLine + lengthLine(5) + "Transfer-Encoding: \x0bchunked\r\n\r\n" + noChunks + smuggled, rejected},
	{"a space before the colon of chunks", postLine + lengthLine(5) + "Transfer-Encoding : chunked\r\n\r\n" + noChunks + smuggled, rejected},
	{"a space before the colon of a length", postLine + "Content-Length : 10\r\n\r\n" + idsBody + smuggled, rejected},
	{"chunks in HTTP/1.0", strings.Replace(postLine, "1.1", "1.0", 1) + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + noChunks + smuggled, single},

	{"two lengths", postLine + lengthLine(10) + lengthLine(10+len(smuggled)) + "\r\n" + idsBody + smuggled, rejected},
	{"a length with a plus", postLine + "Content-Length: +10\r\n\r\n" + idsBody + smuggled, rejected},
	{"a length below 0", postLine + "Content-Length: -10\r\n\r\n" + idsBody + smuggled, rejected},
	{"a length in hexadecimal", postLine + "Content-Length: 0xa\r\n\r\n" + idsBody + smuggled, rejected},
	{"a length of two numbers", postLine + "Content-Length: 10, 10\r\n\r\n" + idsBody + smuggled, rejected},
	{"a length with a space in it", postLine + "Content-Length: 1 0\r\n\r\n" + idsBody + smuggled, rejected},
	{"an empty length", postLine + "Content-Length: \r\n\r\n" + smuggled, rejected},
	{"a length beyond 64 bits", postLine + "Content-Length: 18446744073709551626\r\n\r\n" + idsBody + smuggled, rejected},

	{"a folded line with chunks", postLine + lengthLine(len(noChunks)+len(smuggled)) + "X-Fold: a\r\n Transfer-Encoding: chunked\r\n\r\n" + noChunks + smuggled, most1},
	{"a folded first line", "POST /v1/jobs/cancel HTTP/1.1\r\n X-Fold: a\r\n" + hostLine + jsonLine + lengthLine(10) + "\r\n" + idsBody + smuggled, rejected},
	{"a bare CR before chunks", postLine + lengthLine(10) + "X-A: a\rTransfer-Encoding: chunked\r\n\r\n" + idsBody + smuggled, rejected},
	{"a NUL in a header", postLine + "X-A: a\x00b\r\n" + lengthLine(10) + "\r\n" + idsBody + smuggled, rejected},
	{"a line without a colon", postLine + "X-A\r\n" + lengthLine(10) + "\r\n" + idsBody + smuggled, rejected},
	{"bare LF, and a request as the body", strings.ReplaceAll(postLine+lengthLine(len(smuggled)), "\r\n", "\n") + "\n" + smuggled, most1},

	{"a chunk's size with a plus", postLine + "Transfer-Encoding: chunked\r\n\r\n+a\r\n" + idsBody + "\r\n" + noChunks + smuggled, rejected},
	{"a chunk's size with 0x", postLine + "Transfer-Encoding: chunked\r\n\r\n0xa\r\n" + idsBody + "\r\n" + noChunks + smuggled, rejected},
	{"a chunk's size below 0", postLine + "Transfer-Encoding: chunked\r\n\r\n-a\r\n" + idsBody + "\r\n" + noChunks + smuggled, rejected},
	{"a chunk's size beyond 64 bits", postLine + "Transfer-Encoding: chunked\r\n\r\n1000000000000000a\r\n" + idsBody + "\r\n" + noChunks + smuggled, rejected},
	{"a bare LF in an extension", postLine + "Transfer-Encoding: chunked\r\n\r\na;x\n\r\n" + idsBody + "\r\n" + noChunks + smuggled, rejected},
	{"a chunk without its end", postLine + "Transfer-Encoding: chunked\r\n\r\na\r\n" + idsBody + noChunks + smuggled, rejected},
	{"a trailer with a length", postLine + "Transfer-Encoding: chunked\r\n\r\na\r\n" + idsBody + "\r\n0\r\nContent-Length: 500\r\n\r\n" + smuggled, single},

	{"two hosts", postLine + "Host: evil.example\r\n" + lengthLine(10) + "\r\n" + idsBody + smuggled, rejected},
	{"no host", "POST /v1/jobs/cancel HTTP/1.1\r\n" + jsonLine + lengthLine(10) + "\r\n" + idsBody + smuggled, rejected},
	{"two spaces in the request line", "GET  /healthz HTTP/1.1\r\n" + hostLine + "\r\n" + smuggled, rejected},
	{"HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled, rejected},
	{"HTTP/1.2, then text", "GET /healthz HTTP/9.9\r\n" + hostLine + "\r\n" + smuggled, rejected},
}

func lengthLine(n int) string  { return fmt.Sprintf("Content-Length: %d\r\n", n) }
func chunk(data string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(data), data) }

// smuggle sends all pairs.
func (h *hostile) smuggle(ctx context.Context) {
	for _, p := range pairs {
		statuses, closed, err := exchange(ctx, strings.TrimPrefix(h.p.base, "http://"), p.text)
		if err == nil {
			err = p.want.check(statuses, closed)
		}
		if err != nil {
			h.r.violate("a request is smuggled", "%s: %v", p.name, err)
		}
	}
	h.r.figure("smuggling", "%d pairs sent", len(pairs))
}

// check says what is not as expected.
func (e expectation) check(statuses []int, closed bool) error {
	n := len(statuses)
	ok := true
	switch e {
	case rejected:
		ok = n == 1 && statuses[0] >= 400 && closed
	case single:
		ok = n == 1 && closed
	case most1:
		ok = n <= 1
	case exactly1:
		ok = n == 1 && !closed
	case exactly2:
		ok = n == 2 && statuses[1] == http.StatusOK && !closed
	}
	if !ok {
		return fmt.Errorf("answers %v, closed %v: want %s", statuses, closed,
			[]string{"one error, and the end", "one, and the end", "one at most", "one, and the connection goes on", "two, and the connection goes on"}[e])
	}
	return nil
}

// exchange sends a text and reads the answers to it, until the server closes the connection or nothing more comes.
func exchange(ctx context.Context, address, text string) (statuses []int, closed bool, err error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, false, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return nil, false, err
	}
	answers := bufio.NewReader(c)
	for {
		if err := c.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			return statuses, false, err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			statuses = append(statuses, resp.StatusCode)
		}
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout():
			return statuses, false, nil
		default: // its end, or a reset
			return statuses, true, nil
		}
	}
}
