package server

import (
	"bytes"
	"net/http"
)

// framing looks in all that a client sent for lines that begin as the two headers do that give a body's length.
// net/http drops Content-Length where it stands beside Transfer-Encoding, so that no handler learns of it. A line of a
// body may be taken for one of a header; its connection is closed after an answer then, which is always allowed.
type framing struct{ length, encoding lineFinder }

func newFraming() framing {
	return framing{lineFinder{name: []byte("content-length:")}, lineFinder{name: []byte("transfer-encoding:")}}
}

func (f *framing) scan(data []byte) {
	f.length.scan(data)
	f.encoding.scan(data)
}

// faulty reports whether two parties may disagree where the body of r ends, the last request that was read: it may have
// both headers, or be chunked in HTTP/1.0, which knows no chunks. A server must close the connection after its answer
// then.
func (f *framing) faulty(r *http.Request) bool {
	if !r.ProtoAtLeast(1, 1) {
		return f.encoding.found
	}
	return len(r.TransferEncoding) > 0 && f.length.found
}

// lineFinder finds a line that begins with a name, in whatever case, in bytes that come by and by.
type lineFinder struct {
	name  []byte // in lower case
	at    int    // bytes of name that the line has so far; -1: it is another line
	found bool
}

func (l *lineFinder) scan(data []byte) {
	for len(data) > 0 && !l.found {
		if l.at < 0 {
			end := bytes.IndexByte(data, '\n')
			if end < 0 {
				return
			}
			data, l.at = data[end+1:], 0
			continue
		}
		b := data[0]
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		switch {
		case b == '\n':
			l.at = 0
		case b != l.name[l.at]:
			l.at = -1
		default:
			l.at++
			l.found = l.at == len(l.name)
		}
		data = data[1:]
	}
}
