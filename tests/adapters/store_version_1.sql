-- A store of layout 1, written by the first migration alone; regenerate never: it is old.
PRAGMA application_id = 1363889491;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'store','m001_material_and_units','2026-11-22 13:53:33.506377+00:00');
CREATE TABLE "material" (
   "row" INTEGER PRIMARY KEY,
   "name" TEXT NOT NULL,
   "length" INTEGER NOT NULL,
   "unit_bytes" INTEGER NOT NULL
) STRICT;
INSERT INTO "material" VALUES(1,'block/1',8192,4096);
CREATE TABLE node(node TEXT PRIMARY KEY NOT NULL, boot INTEGER NOT NULL) STRICT;
INSERT INTO "node" VALUES('a',7);
CREATE TABLE "store" (
   "fact" TEXT PRIMARY KEY,
   "value" TEXT
) STRICT;
INSERT INTO "store" VALUES('node','a');
CREATE TABLE unit (material INTEGER NOT NULL, number INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL, place INTEGER NOT NULL, slot INTEGER NOT NULL, PRIMARY KEY (material, number)) STRICT, WITHOUT ROWID;
INSERT INTO "unit" VALUES(1,0,0,4096,0,0);
INSERT INTO "unit" VALUES(1,1,4096,4096,1,1);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX "idx_material_name"
    ON "material" ("name");
COMMIT;
