// Package server answers HTTP requests with pictures: POST /generate computes one and returns its id once the PNG is on disk,
// GET /download/{id} returns it, POST /refine makes a new one from it. GET /healthz says that the process lives, GET /readyz that it
// would take work.
//
// Bodies, defaults and errors are what a FastAPI service around diffusers would have: unknown fields are ignored, numbers may be
// strings of digits, and what can't be used is answered by 422 with a list of {type, loc, msg, input}.
//
// Each device computes one image at a time; the other requests wait in a queue of fixed length, in order, for whichever
// device is free. A device is free as soon as an image is computed: the PNG is encoded, synced and answered beside the
// next one, for two images of a device at most. The log has the durations of wait, compute and encode apart. A client
// that hangs up frees its slot. Nothing outlives the process but the pictures, which carry their prompt, seed and settings in PNG text.
//
// Clients that stand still cost nobody else anything. A header has 10 s to arrive and a connection 2 minutes between
// requests; a body and an answer have a time for each 16 KiB ([Config].BodyTimeout, SendTimeout). A client that leaves
// is noticed whatever it sent before, of which the server takes 128 KiB before its turn. The number of connections is
// limited ([Config].Connections): where there would be more, the one that waits longest for its client to send a
// request is closed for the new one, and never one for which an image is computed or sent. When these are seven eighths
// of all, requests for more of them are answered 503. A request with two lengths, Content-Length and Transfer-Encoding,
// is answered by the second, and its connection closed.
//
// What one request may ask for is limited, by Config or by the speed of the devices: what is above is 422, and what
// computes for too long 504. What the model warns of, a prompt that was cut for instance, is in the answer beside the
// id.
//
// The folder of images is used through an os.Root, and only regular files in it are images. An image's file is opened,
// and has its room on disk, before the image is computed: a full disk is 507, and a folder that can't be used 503, at
// once. /readyz asks the same. A folder that was removed is made again.
//
// On a loopback address, requests by another host's name are 403. The log has no text that a client wrote in a body,
// unless it is of level debug.
//
// A device that fails costs the request that it computed, which is answered 500. Its engine is closed and loaded again; what waits is served
// by it then, or by the other devices.
package server
