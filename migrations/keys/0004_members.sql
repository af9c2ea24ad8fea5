-- Of each member: the user of the bus that it joined as, in whose name alone it is asked, acknowledged and left
-- for; and the contract number that it joined in, which is the newest that it is told anything in.
ALTER TABLE keys_members ADD COLUMN bus_user TEXT NOT NULL DEFAULT '';
ALTER TABLE keys_members ADD COLUMN contract BIGINT NOT NULL DEFAULT 1;
