"""The world as it is: each adapter implements one port and knows no other adapter's internals."""
