// A mirror made of Go's own sumdb packages: it reads a log over HTTP and believes nothing.
//
//	mirror URL VKEY < proofs.json > verdict.json
//
// Each proof of the input is checked against the checkpoint and made again from the tiles.
package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type proofs struct {
	Records []struct {
		Index int64
		Path  [][]byte
	}
	Trees []struct {
		Size int64
		Root []byte
		Path [][]byte
	}
}

type verdict struct {
	Size, Records, Trees int64
	Key, Note            string
}

var base string

func get(path string) []byte {
	answer, err := http.Get(base + path)
	check(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s", path, answer.Status)
	}
	content, err := io.ReadAll(answer.Body)
	check(err)
	return content
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

type mirror struct{}

func (mirror) Height() int                     { return 8 }
func (mirror) SaveTiles([]tlog.Tile, [][]byte) {}
func (mirror) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var contents [][]byte
	for _, tile := range tiles {
		// sumdb writes the height into the address; c2sp.org/tlog-tiles fixes it.
		path := strings.Replace(tile.Path(), "tile/8/", "/tile/", 1)
		path = strings.Replace(path, "/tile/data/", "/tile/entries/", 1)
		contents = append(contents, get(path))
	}
	return contents, nil
}

func hashes(path [][]byte) []tlog.Hash {
	var all []tlog.Hash
	for _, one := range path {
		all = append(all, hash(one))
	}
	return all
}

func hash(bytes []byte) tlog.Hash {
	var one tlog.Hash
	if copy(one[:], bytes) != len(bytes) || len(bytes) != tlog.HashSize {
		log.Fatal("a hash is not 32 bytes")
	}
	return one
}

func same(one, other []tlog.Hash) {
	if fmt.Sprint(one) != fmt.Sprint(other) {
		log.Fatalf("two proofs of one thing differ: %v, %v", one, other)
	}
}

// entries reads every record of the log from its bundles.
func entries(size int64) [][]byte {
	var all [][]byte
	for n := int64(0); n*256 < size; n++ {
		width := size - n*256
		if width > 256 {
			width = 256
		}
		tile := tlog.Tile{H: 8, L: -1, N: n, W: int(width)}
		contents, err := mirror{}.ReadTiles([]tlog.Tile{tile})
		check(err)
		for rest := contents[0]; len(rest) > 0; {
			length := binary.BigEndian.Uint16(rest)
			all = append(all, rest[2:2+length])
			rest = rest[2+length:]
		}
	}
	return all
}

func main() {
	base = os.Args[1]
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	opened, err := note.Open(get("/checkpoint"), note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	tree := tlog.Tree{N: size, Hash: hash(root)}
	reader := tlog.TileHashReader(tree, mirror{})

	all := entries(size)
	if int64(len(all)) != size {
		log.Fatalf("%d records in bundles of a log of %d", len(all), size)
	}
	for index, entry := range all {
		found, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		check(err)
		if found[0] != tlog.RecordHash(entry) {
			log.Fatalf("record %d is not the one in the tree", index)
		}
	}

	var given proofs
	check(json.NewDecoder(os.Stdin).Decode(&given))
	for _, one := range given.Records {
		leaf := tlog.RecordHash(all[one.Index])
		check(tlog.CheckRecord(hashes(one.Path), size, tree.Hash, one.Index, leaf))
		made, err := tlog.ProveRecord(size, one.Index, reader)
		check(err)
		same(made, hashes(one.Path))
	}
	for _, one := range given.Trees {
		check(tlog.CheckTree(hashes(one.Path), size, tree.Hash, one.Size, hash(one.Root)))
		made, err := tlog.ProveTree(size, one.Size, reader)
		check(err)
		same(made, hashes(one.Path))
	}

	// And the other way: a checkpoint that Go signs.
	private, public, err := note.GenerateKey(rand.Reader, opened.Text[:strings.Index(opened.Text, "\n")])
	check(err)
	signer, err := note.NewSigner(private)
	check(err)
	signed, err := note.Sign(&note.Note{Text: opened.Text}, signer)
	check(err)
	check(json.NewEncoder(os.Stdout).Encode(verdict{
		Size: size, Records: int64(len(given.Records)), Trees: int64(len(given.Trees)),
		Key: public, Note: string(signed),
	}))
}
