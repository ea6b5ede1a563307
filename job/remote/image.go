package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/goxl/goxl/job/blob"
)

// pieceBytes is how much of an image goes into one message, half of what NATS takes by default.
const pieceBytes = 512 << 10

// onImage answers with a piece of an image that another API asks for.
func (a *API) onImage(m *nats.Msg) {
	if !a.foreign(m) {
		return
	}
	var p piece
	if err := json.Unmarshal(m.Data, &p); err != nil {
		a.options.Log.Warn("another API's question can't be read", slog.String("error", err.Error()))
		return
	}
	info, data, err := a.readPiece(p)
	if err != nil {
		if !errors.Is(err, blob.ErrNotFound) {
			a.options.Log.Warn("an image for another API can't be read", slog.String("image", p.ID), slog.String("error", err.Error()))
		}
		a.tell(m, false, "", nil)
		return
	}
	a.tell(m, true, info, data)
}

func (a *API) readPiece(p piece) (info string, data []byte, err error) {
	f, t, err := a.images.Open(p.ID)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	i := imageInfo{Type: t, Bytes: stat.Size(), Modified: stat.ModTime()}
	if i.Owner, i.Known, err = a.queue.OwnerOfBlob(p.ID); err != nil {
		return "", nil, err
	}
	if p.Offset < 0 || p.Offset > i.Bytes {
		return "", nil, fmt.Errorf("remote: the offset is %d: must be 0 to %d", p.Offset, i.Bytes)
	}
	data = make([]byte, min(pieceBytes, a.conn.nc.MaxPayload()/2, i.Bytes-p.Offset))
	if _, err := f.ReadAt(data, p.Offset); err != nil {
		return "", nil, err
	}
	header, err := encode(i)
	return string(header), data, err
}

// FindImage asks the other APIs for an image that this one does not have: blob.ErrNotFound says that none has it. What it
// gives reads the image from there, piece by piece, within ctx.
func (a *API) FindImage(ctx context.Context, id string) (blob.Distant, error) {
	r := &pieces{api: a, ctx: ctx, id: id}
	if err := r.fetch(0); err != nil {
		return blob.Distant{}, err
	}
	i := r.info
	return blob.Distant{Type: i.Type, Bytes: i.Bytes, Modified: i.Modified, Owner: i.Owner, Owned: i.Known, Content: r}, nil
}

// pieces reads an image of another API. It holds one piece.
type pieces struct {
	api  *API
	ctx  context.Context
	id   string
	info imageInfo

	at   int64 // of the next byte to read
	from int64 // of data
	data []byte
}

// fetch gets the piece at an offset.
func (r *pieces) fetch(offset int64) error {
	question, err := encode(piece{r.id, offset})
	if err != nil {
		return err
	}
	m, err := r.api.ask(r.ctx, subjectImage, question)
	if err != nil {
		return err
	}
	if m == nil {
		return &blob.Error{Kind: blob.ErrNotFound}
	}
	var info imageInfo
	if err := json.Unmarshal([]byte(m.Header.Get(headerImage)), &info); err != nil {
		return fmt.Errorf("remote: image %s of another server: %w", r.id, err)
	}
	if offset == 0 && r.info == (imageInfo{}) {
		r.info = info
	}
	if info.Bytes != r.info.Bytes || info.Type != r.info.Type || len(m.Data) == 0 && offset < info.Bytes {
		return fmt.Errorf("remote: image %s of another server has changed while it was read", r.id)
	}
	r.from, r.data = offset, m.Data
	return nil
}

func (r *pieces) Read(b []byte) (int, error) {
	if r.at >= r.info.Bytes {
		return 0, io.EOF
	}
	if r.at < r.from || r.at >= r.from+int64(len(r.data)) {
		if err := r.fetch(r.at); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.data[r.at-r.from:])
	r.at += int64(n)
	return n, nil
}

func (r *pieces) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.info.Bytes
	}
	if offset < 0 {
		return 0, fmt.Errorf("remote: seeking to %d: must be 0 or more", offset)
	}
	r.at = offset
	return offset, nil
}
