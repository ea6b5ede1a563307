// Package server answers HTTP requests with pictures: POST /generate computes one and returns its id once the PNG is on disk,
// GET /download/{id} returns it, POST /refine makes a new one from it. GET /healthz says that the process lives, GET /readyz that it
// would take work.
//
// Bodies, defaults and errors are what a FastAPI service around diffusers would have: unknown fields are ignored, numbers may be
// strings of digits, and what can't be used is answered by 422 with a list of {type, loc, msg, input}.
//
// Each device computes one picture at a time; the others wait in a queue of fixed length, in order, for whichever is free. A client that
// hangs up gives its place back. Nothing outlives the process but the pictures, which carry their prompt, seed and settings in PNG text.
//
// Clients that stand still cost nobody else anything. A header has 10 s to arrive and a connection 2 minutes between
// requests; a body and an answer have a time for each 16 KiB ([Config].BodyTimeout, SendTimeout). A client that leaves
// is noticed whatever it sent before, of which the server takes 128 KiB before its turn. The number of connections is
// limited ([Config].Connections): where there would be more, the one that waits longest for its client to send a
// request is closed for the new one, and never one for which an image is computed or sent. When these are seven eighths
// of all, requests for more of them are answered 503. A request with two lengths, Content-Length and Transfer-Encoding,
// is answered by the second, and its connection closed.
//
// A device that fails costs the request that it computed, which is answered 500. Its engine is closed and loaded again; what waits is served
// by it then, or by the other devices.
package server
