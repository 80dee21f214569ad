XA START 'xa1','b',7; INSERT INTO kp VALUES ('xa',10,1); XA END 'xa1','b',7; XA PREPARE 'xa1','b',7; XA COMMIT 'xa1','b',7;
XA START 'xa2'; INSERT INTO kp VALUES ('xa',11,1); XA END 'xa2'; XA COMMIT 'xa2' ONE PHASE;
XA START 'xa3'; INSERT INTO kp VALUES ('xa',12,1); XA END 'xa3'; XA PREPARE 'xa3'; XA ROLLBACK 'xa3';
INSERT INTO doc VALUES (1,1,'t','{"a": 1, "b": "xxxxxxxxxxxxxxxxxxxxxxxxxx", "c": [1,2,3]}','[1]'),(2,NULL,NULL,NULL,NULL);
UPDATE doc SET a=2 WHERE id=1;
UPDATE doc SET j=JSON_SET(j,'$.a',5) WHERE id=1;
UPDATE doc SET k='{}', t='u' WHERE id=2;
